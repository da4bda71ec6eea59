package hello

import "encoding/binary"

// A client of PostgreSQL begins with a message of its protocol: the length, and a
// code that is a request, or else the version (its manual, "Message Formats").
const (
	codeCancel = 80877102 // CancelRequest
	codeTLS    = 80877103 // SSLRequest
	codeGSS    = 80877104 // GSSENCRequest
)

// PostgresSize is the size of an SSLRequest and of a GSSENCRequest, in bytes.
const PostgresSize = 8

// AppendSSLRequest appends the message that asks a PostgreSQL server for TLS. It
// answers with "S", or "N".
func AppendSSLRequest(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, PostgresSize), codeTLS)
}

// postgres reads what begins with a zero.
func postgres(data []byte) (Result, *Reject) {
	if len(data) > 1 && data[1] != 0 {
		return Refused, rejectForeign
	}
	if len(data) < PostgresSize {
		return More, nil
	}
	size, code := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
	result := Postgres
	switch {
	case size == PostgresSize && code == codeTLS:
	case size == PostgresSize && code == codeGSS:
		result = PostgresGSS
	case code == codeCancel:
		return Refused, rejectCancel
	case code>>16 == 3: // the version of a StartupMessage
		return Refused, rejectStartup
	default:
		return Refused, rejectForeign
	}
	if len(data) > PostgresSize {
		// What was sent in the clear before TLS began must not pass for something
		// that was sent inside it (CVE-2021-23214).
		return Refused, rejectEager
	}
	return result, nil
}

// wantsTLS is the ErrorResponse for a client of PostgreSQL that begins in the clear.
var wantsTLS = errorResponse("FATAL", "28000", "this port wants TLS; want sslmode=require")

func errorResponse(severity, code, message string) string {
	fields := "S" + severity + "\x00V" + severity + "\x00C" + code + "\x00M" + message + "\x00\x00"
	return "E" + string(binary.BigEndian.AppendUint32(nil, uint32(4+len(fields)))) + fields
}
