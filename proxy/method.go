package proxy

// methodKind is what of a method matters to a proxy.
type methodKind uint8

const (
	methodOther      methodKind = iota // POST, PATCH and all that we do not know
	methodIdempotent                   // may be sent twice (RFC 9110 section 9.2.2)
	methodHead                         // idempotent, and its answer has no body
)

func kindOf(m []byte) methodKind {
	switch string(m) {
	case "HEAD":
		return methodHead
	case "GET", "PUT", "DELETE", "OPTIONS", "TRACE":
		return methodIdempotent
	}
	return methodOther
}

func (m methodKind) idempotent() bool { return m != methodOther }

// text is what the response codec has to know of the method.
func (m methodKind) text() []byte {
	if m == methodHead {
		return headText
	}
	return nil
}

var headText = []byte("HEAD")
