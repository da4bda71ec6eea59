package http1

// ID tells the field names apart that a proxy must know. It fits into a bit
// of a uint64.
type ID uint8

// The known field names. IDOther is every name that is not listed,
// IDXForwardedOther an X-Forwarded-* without an ID of its own, and IDAlias a
// name that only differs from a known one in punctuation (Content_Length):
// backends that map names to variables take it for that field, so it must not
// be forwarded.
const (
	IDOther ID = iota
	IDAlias
	IDXForwardedOther
	IDHost
	IDConnection
	IDContentLength
	IDTransferEncoding
	IDTE
	IDTrailer
	IDUpgrade
	IDExpect
	IDKeepAlive
	IDProxyConnection
	IDProxyAuthenticate
	IDProxyAuthenticationInfo
	IDProxyAuthorization
	IDProxy
	IDHTTP2Settings
	IDXForwardedFor
	IDXForwardedProto
	IDXForwardedPort
	IDXForwardedHost
	IDXForwardedServer
	IDXRealIP
	IDForwarded
	IDXRequestID
	IDAccept
	IDAuthorization
	IDCookie
	IDSetCookie
	IDContentType
	IDDate
	IDServer
	IDVia
	IDSecWebSocketKey
	IDSecWebSocketAccept
	idCount
)

var names = [idCount]string{
	IDHost:                    "host",
	IDConnection:              "connection",
	IDContentLength:           "content-length",
	IDTransferEncoding:        "transfer-encoding",
	IDTE:                      "te",
	IDTrailer:                 "trailer",
	IDUpgrade:                 "upgrade",
	IDExpect:                  "expect",
	IDKeepAlive:               "keep-alive",
	IDProxyConnection:         "proxy-connection",
	IDProxyAuthenticate:       "proxy-authenticate",
	IDProxyAuthenticationInfo: "proxy-authentication-info",
	IDProxyAuthorization:      "proxy-authorization",
	IDProxy:                   "proxy",
	IDHTTP2Settings:           "http2-settings",
	IDXForwardedFor:           "x-forwarded-for",
	IDXForwardedProto:         "x-forwarded-proto",
	IDXForwardedPort:          "x-forwarded-port",
	IDXForwardedHost:          "x-forwarded-host",
	IDXForwardedServer:        "x-forwarded-server",
	IDXRealIP:                 "x-real-ip",
	IDForwarded:               "forwarded",
	IDXRequestID:              "x-request-id",
	IDAccept:                  "accept",
	IDAuthorization:           "authorization",
	IDCookie:                  "cookie",
	IDSetCookie:               "set-cookie",
	IDContentType:             "content-type",
	IDDate:                    "date",
	IDServer:                  "server",
	IDVia:                     "via",
	IDSecWebSocketKey:         "sec-websocket-key",
	IDSecWebSocketAccept:      "sec-websocket-accept",
}

// endToEnd are the fields that a Connection field cannot take away: those that
// frame and route the message, those that say where it comes from, and those
// whose absence a backend would read as a different request.
const endToEnd uint64 = 1<<IDAlias | 1<<IDXForwardedOther | 1<<IDHost | 1<<IDContentLength | 1<<IDTransferEncoding |
	1<<IDXForwardedFor | 1<<IDXForwardedProto | 1<<IDXForwardedPort | 1<<IDXForwardedHost | 1<<IDXForwardedServer |
	1<<IDXRealIP | 1<<IDForwarded | 1<<IDXRequestID | 1<<IDAuthorization | 1<<IDCookie | 1<<IDSetCookie |
	1<<IDContentType | 1<<IDDate | 1<<IDVia

// index finds names by length, first and last letter; clashes move on by one.
var index = func() (t [256]ID) {
	for id, name := range names {
		if name == "" {
			continue
		}
		i := slot([]byte(name))
		for t[i] != IDOther {
			i++
		}
		t[i] = ID(id)
	}
	return t
}()

func slot(name []byte) uint8 {
	return uint8(len(name))*11 + (name[0]|0x20)*3 + (name[len(name)-1]|0x20)*7
}

// known looks up a name made of token bytes, without aliases.
func known(name []byte) ID {
	for i := slot(name); index[i] != IDOther; i++ {
		if equalName(name, names[index[i]]) {
			return index[i]
		}
	}
	const prefix = "x-forwarded-"
	if len(name) > len(prefix) && equalName(name[:len(prefix)], prefix) {
		return IDXForwardedOther
	}
	return IDOther
}

// equalName compares token bytes with a known name. Setting the bit 0x20 folds
// letters, keeps "-" and digits, and lets no other tchar become one of them.
func equalName(name []byte, known string) bool {
	if len(name) != len(known) {
		return false
	}
	for i := range name {
		if name[i]|0x20 != known[i] {
			return false
		}
	}
	return true
}

// longestName bounds the names that alias looks at.
const longestName = 32

// alias finds known names in a name that has punctuation other than "-".
func alias(name []byte) ID {
	if len(name) > longestName {
		return IDOther
	}
	var plain [longestName]byte
	for i, c := range name {
		if chars[c]&unusual != 0 {
			c = '-'
		}
		plain[i] = c
	}
	if known(plain[:len(name)]) == IDOther {
		return IDOther
	}
	return IDAlias
}

// String returns the name in lower case, "" when the ID has none.
func (id ID) String() string {
	if id < idCount {
		return names[id]
	}
	return ""
}
