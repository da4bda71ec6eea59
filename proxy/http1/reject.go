package http1

import "strconv"

// Reject says why a message is refused. All of them are declared in this
// package and never change, so they may be kept and compared.
type Reject struct {
	Status int    // what to answer; 502 when a response is refused
	Reason string // lower case, fit for a log line and an error body

	gateway *Reject // the same flaw found in a response
}

// Error implements error.
func (r *Reject) Error() string { return strconv.Itoa(r.Status) + ": " + r.Reason }

func reject(status int, reason string) *Reject {
	return &Reject{status, reason, &Reject{Status: 502, Reason: reason}}
}

var (
	rejectHeadSize    = reject(431, "head too large")
	rejectFieldCount  = reject(431, "too many field lines")
	rejectOptionCount = reject(431, "too many connection options")
	rejectTargetSize  = reject(414, "request target too long")

	rejectBareLF    = reject(400, "line ends in a bare LF")
	rejectBareCR    = reject(400, "CR without LF")
	rejectBlank     = reject(400, "too many empty lines before the request line")
	rejectMethod    = reject(400, "invalid method")
	rejectLong      = reject(501, "method too long")
	rejectConnect   = reject(501, "CONNECT is not supported")
	rejectTarget    = reject(400, "invalid request target")
	rejectScheme    = reject(400, "request target is neither a path nor an http URI")
	rejectAuthority = reject(400, "invalid authority in the request target")
	rejectVersion   = reject(400, "invalid protocol version")
	rejectMajor     = reject(505, "protocol version is not HTTP/1")

	rejectFold     = reject(400, "folded field line")
	rejectNoName   = reject(400, "field line without a name")
	rejectSpace    = reject(400, "space before the colon of a field line")
	rejectNoColon  = reject(400, "field line without a colon")
	rejectName     = reject(400, "invalid byte in a field name")
	rejectValue    = reject(400, "invalid byte in a field value")
	rejectNoHost   = reject(400, "no host")
	rejectTwoHosts = reject(400, "more than one host field")
	rejectHost     = reject(400, "invalid host")
	rejectMismatch = reject(400, "host differs from the request target")
	rejectExpect   = reject(417, "unknown expectation")

	rejectLength   = reject(400, "invalid content-length")
	rejectLengths  = reject(400, "more than one content-length")
	rejectBoth     = reject(400, "both content-length and transfer-encoding")
	rejectCoding   = reject(501, "transfer-encoding other than chunked")
	rejectCodings  = reject(400, "more than one transfer-encoding")
	rejectCoding10 = reject(400, "transfer-encoding in HTTP/1.0")

	rejectStatusLine = reject(400, "invalid status line")
	rejectInterim    = reject(400, "content framing in an interim response")

	rejectChunkSize   = reject(400, "invalid chunk size")
	rejectChunkLarge  = reject(400, "chunk size too large")
	rejectChunkExt    = reject(400, "invalid chunk extension")
	rejectExtSize     = reject(400, "chunk extensions too large")
	rejectChunkEnd    = reject(400, "chunk data is not followed by CRLF")
	rejectTrailerSize = reject(431, "trailer section too large")
)
