package hello

import "slices"

// vector is p behind its length, which takes size bytes.
func vector(size int, p []byte) (b []byte) {
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(len(p)>>(8*i)))
	}
	return append(b, p...)
}

func extension(kind int, body []byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind)}, vector(2, body)...)
}

func serverName(s string) []byte {
	return extension(extServerName, vector(2, append([]byte{0}, vector(2, []byte(s))...)))
}

// prefix is a ClientHello up to its extensions, with as many bytes of session
// id, cipher suites and compression methods.
func prefix(session, suites, compressions int) []byte {
	b := append([]byte{3, 3}, make([]byte, 32)...)
	b = append(b, vector(1, make([]byte, session))...)
	b = append(b, vector(2, make([]byte, suites))...)
	return append(b, vector(1, make([]byte, compressions))...)
}

func handshake(body []byte) []byte { return append([]byte{typeClientHello}, vector(3, body)...) }

// message is a ClientHello with these extensions.
func message(extensions ...[]byte) []byte {
	return handshake(append(prefix(32, 4, 1), vector(2, slices.Concat(extensions...))...))
}

// record puts a message into records as large as may be.
func record(message []byte) (b []byte) {
	for piece := range slices.Chunk(message, maxRecord) {
		b = append(append(b, FirstByte, 3, 1), vector(2, piece)...)
	}
	return b
}

func edited(b []byte, at int, to byte) []byte {
	b[at] = to
	return b
}
