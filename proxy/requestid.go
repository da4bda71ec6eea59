package proxy

import (
	"encoding/binary"
	"encoding/hex"

	"arzur.net/lb/proxy/http1"
)

// maxID bounds a request id that a trusted proxy gave.
const maxID = 64

// takeID adopts the request id that a trusted proxy sent.
func (x *Exchange) takeID(r *http1.Request) {
	if !x.trusted {
		return
	}
	if v := lastValue(r, http1.IDXRequestID); len(v) > 0 && len(v) <= maxID {
		x.idLen = uint8(copy(x.id[:], v))
	}
}

// requestID is the Exchange's id: a trusted proxy's, or 128 random bits in hex,
// made when first asked for.
func (x *Exchange) requestID() []byte {
	if x.idLen == 0 {
		var raw [16]byte
		binary.LittleEndian.PutUint64(raw[:8], x.core.rand.Uint64())
		binary.LittleEndian.PutUint64(raw[8:], x.core.rand.Uint64())
		x.idLen = uint8(hex.Encode(x.id[:], raw[:]))
	}
	return x.id[:x.idLen]
}
