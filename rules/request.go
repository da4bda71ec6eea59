package rules

import "net/netip"

// Request is what a match may look at. The slices and Fields are borrowed for
// the call of Lookup; the Request itself may be used again and again, by one goroutine at a time.
type Request struct {
	Method []byte
	Host   []byte // as NormalizeHost leaves it
	Path   []byte // as CleanPath leaves it
	Query  []byte // without the "?"
	Client netip.Addr
	Fields Fields // may be nil

	routing []byte // routing path of the current Lookup
	scratch []byte // where routing is decoded to; kept for the next Lookup
	value   []byte // where a query value is decoded to
}

// Fields are the header fields of a request.
type Fields interface {
	// Value is the i-th value (from 0) of the field called name, whatever the
	// case of either. ok is false when there are not so many.
	Value(name string, i int) (value []byte, ok bool)
}

// route sets the routing path.
func (r *Request) route() {
	switch {
	case len(r.Path) == 0:
		r.routing = rootPath
	default:
		r.routing = routingPath(r.scratch, r.Path)
		if len(r.routing) > 0 && &r.routing[0] != &r.Path[0] {
			r.scratch = r.routing
		}
	}
}

// rootPath stands for the empty path of an absolute-form target (RFC 9110 section 4.2.3).
var rootPath = []byte("/")
