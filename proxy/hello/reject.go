package hello

// Reject says why bytes are no ClientHello. All of them are declared in this
// package and never change, so they may be kept and compared.
type Reject struct {
	Alert  uint8  // TLS alert (RFC 8446 section 6), 0: the peer does not speak TLS
	Reason string // lower case, fit for a log line
}

// Append appends what tells the peer so, in its own protocol: nothing if that is
// not known.
func (r *Reject) Append(b []byte) []byte {
	switch {
	case r == rejectStartup:
		return append(b, wantsTLS...)
	case r.Alert != 0:
		return AppendAlert(b, r.Alert)
	}
	return b
}

// Error implements error.
func (r *Reject) Error() string { return r.Reason }

// Alerts of RFC 8446 section 6.
const (
	unexpectedMessage = 10
	recordOverflow    = 22
	illegalParameter  = 47
	decodeError       = 50
	protocolVersion   = 70
)

// UnrecognizedName is the alert for a server name that nobody has (RFC 6066 section 3).
const UnrecognizedName = 112

var (
	rejectForeign = &Reject{0, "not TLS"}
	rejectText    = &Reject{0, "not TLS but text, such as HTTP in the clear"}
	rejectSSL2    = &Reject{0, "not TLS; perhaps an SSL 2 hello"}
	rejectEager   = &Reject{0, "bytes behind PostgreSQL's request for TLS or GSS, before the answer"}
	rejectCancel  = &Reject{0, "PostgreSQL's request to cancel a query, in the clear and for no server by name"}
	rejectStartup = &Reject{0, "a PostgreSQL client in the clear; it wants sslmode=require"}

	rejectType    = &Reject{unexpectedMessage, "a TLS record that is no handshake"}
	rejectMessage = &Reject{unexpectedMessage, "a handshake message that is no ClientHello"}
	rejectEmpty   = &Reject{unexpectedMessage, "an empty handshake record"}
	rejectBehind  = &Reject{unexpectedMessage, "a message behind the ClientHello in its record"}
	rejectRecord  = &Reject{recordOverflow, "a TLS record that is too long"}
	rejectSize    = &Reject{decodeError, "ClientHello larger than 64 KiB"}

	rejectShort      = &Reject{decodeError, "ClientHello ends inside a field"}
	rejectVersion    = &Reject{protocolVersion, "ClientHello of an unknown version"}
	rejectShape      = &Reject{decodeError, "ClientHello without cipher suites or compression methods, or with a session id that is too long"}
	rejectExtensions = &Reject{decodeError, "extensions of the ClientHello do not fill it"}
	rejectRepeated   = &Reject{illegalParameter, "an extension more than once"}
	rejectName       = &Reject{decodeError, "invalid server name"}
	rejectNames      = &Reject{illegalParameter, "more than one server name"}
	rejectProtocols  = &Reject{decodeError, "invalid list of protocols"}
	rejectVersions   = &Reject{decodeError, "invalid list of versions"}
)

// AppendAlert appends a fatal alert as the record that ends a handshake.
func AppendAlert(b []byte, alert uint8) []byte { return append(b, 21, 3, 3, 0, 2, 2, alert) }
