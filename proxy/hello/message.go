package hello

// Extensions that are read (RFC 6066, RFC 7301, RFC 8446 section 4.2).
const (
	extServerName        = 0
	extProtocols         = 16
	extSupportedVersions = 43
)

// cursor takes bytes apart. Once something is missing, short stays set and all
// that it gives is empty.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if c.short || n > len(c.b) {
		c.short = true
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) number(size int) (n int) {
	for _, b := range c.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector takes bytes behind their length, which is size bytes long.
func (c *cursor) vector(size int) []byte { return c.take(c.number(size)) }

// message reads a ClientHello without its header.
func (h *Hello) message(p []byte) *Reject {
	h.ServerName, h.Protocols, h.Versions = nil, h.Protocols[:0], h.Versions[:0]
	c := cursor{b: p}
	version := c.number(2)
	c.take(32) // random
	session, suites, compressions := c.vector(1), c.vector(2), c.vector(1)
	switch {
	case c.short:
		return rejectShort
	case version>>8 != 3:
		return rejectVersion
	case len(session) > 32, len(suites) == 0, len(suites)%2 != 0, len(compressions) == 0:
		return rejectShape
	}
	if len(c.b) > 0 { // TLS 1.0 had no extensions
		extensions := c.vector(2)
		if c.short || len(c.b) > 0 {
			return rejectExtensions
		}
		if rej := h.extensions(extensions); rej != nil {
			return rej
		}
	}
	if len(h.Versions) == 0 {
		h.Versions = append(h.Versions, uint16(version))
	}
	return nil
}

func (h *Hello) extensions(p []byte) *Reject {
	seen := [3]bool{}
	for c := (cursor{b: p}); len(c.b) > 0; {
		kind, body := c.number(2), c.vector(2)
		if c.short {
			return rejectExtensions
		}
		which, read := 0, h.serverName
		switch kind {
		case extServerName:
		case extProtocols:
			which, read = 1, h.protocols
		case extSupportedVersions:
			which, read = 2, h.versions
		default:
			continue
		}
		if seen[which] {
			return rejectRepeated
		}
		seen[which] = true
		if rej := read(body); rej != nil {
			return rej
		}
	}
	return nil
}

// serverName takes the one name of type host_name; of other types there are none.
func (h *Hello) serverName(p []byte) *Reject {
	c := cursor{b: p}
	list := cursor{b: c.vector(2)}
	if c.short || len(c.b) > 0 || len(list.b) == 0 {
		return rejectName
	}
	for len(list.b) > 0 {
		kind, name := list.number(1), list.vector(2)
		switch {
		case list.short, len(name) == 0:
			return rejectName
		case kind != 0:
			continue
		case h.ServerName != nil:
			return rejectNames
		case !validName(name):
			return rejectName
		}
		h.ServerName = name
	}
	return nil
}

// validName says whether name can be a DNS name as RFC 6066 wants it, which is
// without the dot at the end. An underscore is in names that exist; addresses,
// which should not be sent at all, are let through: no rule names them.
func validName(name []byte) bool {
	if len(name) > 255 || name[len(name)-1] == '.' {
		return false
	}
	for _, b := range name {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '.', b == '_', b == ':':
		default:
			return false
		}
	}
	return true
}

func (h *Hello) protocols(p []byte) *Reject {
	c := cursor{b: p}
	list := cursor{b: c.vector(2)}
	if c.short || len(c.b) > 0 || len(list.b) == 0 {
		return rejectProtocols
	}
	for len(list.b) > 0 {
		name := list.vector(1)
		if list.short || len(name) == 0 {
			return rejectProtocols
		}
		if len(name) == 2 && grease(int(name[0])<<8|int(name[1])) {
			continue
		}
		h.Protocols = append(h.Protocols, name)
	}
	return nil
}

func (h *Hello) versions(p []byte) *Reject {
	c := cursor{b: p}
	list := cursor{b: c.vector(1)}
	if c.short || len(c.b) > 0 || len(list.b) == 0 || len(list.b)%2 != 0 {
		return rejectVersions
	}
	for len(list.b) > 0 {
		if v := list.number(2); !grease(v) {
			h.Versions = append(h.Versions, uint16(v))
		}
	}
	return nil
}

// grease says whether v is one of the values that mean nothing and keep servers
// from choking on what they do not know (RFC 8701).
func grease(v int) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }
