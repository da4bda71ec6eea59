package loop

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls keeps the buffers of its largest record and handshake message for as
// long as the connection lives: 3.5 KiB after a handshake, and 17 after an upload.
// For 5,000 idle connections that was 13.4 KiB each instead of 8, so Rest lets go
// of them while they are empty. It knows where they are only by their names and
// types; where these have changed it does nothing, and a test says so.
var (
	rawInput = bufferIn("rawInput")
	hand     = bufferIn("hand")
)

// bufferIn is the offset of a bytes.Buffer in a tls.Conn, 0 if there is none of
// that name.
func bufferIn(name string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return 0
	}
	return f.Offset
}

// restSize is the buffer that a connection may keep: enough to read requests
// without the allocator.
const restSize = 1 << 10

// Rest gives back the memory that the connection does not need while it is idle.
func (t *TLS) Rest() {
	for _, at := range [...]uintptr{rawInput, hand} {
		if at == 0 {
			continue
		}
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(t.conn), at)); b.Len() == 0 && b.Cap() > restSize {
			*b = bytes.Buffer{}
		}
	}
}
