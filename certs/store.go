// Package certs knows the certificates of the program: it loads and watches
// files of them, finds the one for a handshake, staples OCSP responses, says
// what TLS clients get, and warns before certificates expire.
package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store has all Certificates and finds the one for a server name. Its methods
// may be called from any goroutine. The zero value is an empty Store.
type Store struct {
	current   atomic.Pointer[index]
	challenge atomic.Pointer[func(*tls.ClientHelloInfo) *tls.Certificate]

	mu       sync.Mutex // guards what follows, and who may set current
	files    []*Certificate
	replaced []*Certificate // for names that none of the others has
	standard *Certificate
	acme     map[string]*order
}

// order is a name's certificate from ACME and what became of getting the next one.
type order struct {
	ACMEStatus
	certificate *Certificate // nil: none that can be served
}

// index is an immutable view of a Store for handshakes.
type index struct {
	exact    map[string][]*Certificate // best first
	wildcard map[string][]*Certificate // by what follows the "*."
	standard *Certificate
}

// SetFiles replaces the Certificates from files. standard, if not nil, is for
// clients that ask for a name that no Certificate has, or for none. The replaced
// are for their names that no other has. One that has the leaf of one in use takes
// over its OCSP response.
func (s *Store) SetFiles(list []*Certificate, standard *Certificate, replaced ...*Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.bySum()
	s.files, s.standard, s.replaced = list, standard, replaced
	for _, c := range slices.Concat(list, replaced) {
		c.adopt(old[c.sum])
	}
	if standard != nil {
		standard.adopt(old[standard.sum])
	}
	s.rebuild()
}

// SetACME replaces the names that are to have a certificate by ACME, and those
// that they have. One that ends while it is in use stays in use: an old
// certificate is something, and the next one may come any minute.
func (s *Store) SetACME(all []ACMEStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.acme
	s.acme = make(map[string]*order, len(all))
	changed := false
	for _, status := range all {
		o, old := &order{ACMEStatus: status}, before[status.Name]
		s.acme[status.Name] = o
		if old == nil {
			old = &order{}
		}
		if err := o.serve(old.certificate); err != nil && o.Error == "" {
			o.Error = err.Error()
		}
		changed = changed || o.certificate != old.certificate
	}
	for name, old := range before {
		changed = changed || s.acme[name] == nil && old.certificate != nil
	}
	if changed { // 10,000 names are looked at more often than they get a new certificate
		s.rebuild()
	}
}

// serve makes a Certificate of what came from the CA, unless it is old.
func (o *order) serve(old *Certificate) (err error) {
	switch c := o.ACMEStatus.Certificate; {
	case c == nil:
	case old != nil && c.Leaf.Equal(old.leaf):
		o.certificate = old
	default:
		o.certificate, err = New(c, FromACME, o.Name)
	}
	return err
}

// SetChallenge sets what answers the ACME servers that look for tls-alpn-01 (RFC
// 8737) of a name: find returns nil for a name of which there is no challenge,
// must not block, and may be called from any goroutine. A nil find answers nobody.
func (s *Store) SetChallenge(find func(*tls.ClientHelloInfo) *tls.Certificate) {
	if find == nil {
		s.challenge.Store(nil)
		return
	}
	s.challenge.Store(&find)
}

// bySum are the Certificates in use by their leaves. The caller has mu.
func (s *Store) bySum() map[[sha256.Size]byte]*Certificate {
	m := map[[sha256.Size]byte]*Certificate{}
	for _, c := range s.inUse() {
		m[c.sum] = c
	}
	return m
}

// adopt takes over the staple of another Certificate with the same leaf, if
// that is not nil.
func (c *Certificate) adopt(o *Certificate) {
	if o == nil || o == c {
		return
	}
	c.put(o.served.Load().OCSPStaple)
	c.staple.Store(o.staple.Load())
}

// rebuild makes the index anew. The caller has mu.
func (s *Store) rebuild() {
	x := &index{exact: map[string][]*Certificate{}, wildcard: map[string][]*Certificate{}, standard: s.standard}
	x.add(s.chosen())
	now := time.Now()
	for _, m := range []map[string][]*Certificate{x.exact, x.wildcard} {
		for _, list := range m {
			slices.SortStableFunc(list, func(a, b *Certificate) int { return a.order(b, now) })
		}
	}
	for _, c := range s.replaced {
		x.addMissing(c, now)
	}
	s.current.Store(x)
}

func (x *index) add(list []*Certificate) {
	for _, c := range list {
		for _, name := range c.Names {
			m, key := x.at(name)
			m[key] = append(m[key], c)
		}
	}
}

// addMissing adds c for those of its names that no Certificate is for.
func (x *index) addMissing(c *Certificate, now time.Time) {
	for _, name := range c.Names {
		if len(x.named(name, now)) == 0 {
			m, key := x.at(name)
			m[key] = []*Certificate{c}
		}
	}
}

// at is where the Certificates for a name are.
func (x *index) at(name string) (m map[string][]*Certificate, key string) {
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		return x.wildcard, rest
	}
	return x.exact, name
}

// order compares Certificates of the same name: one that is still valid comes
// first, then one that an operator chose, then ECDSA, which costs a handshake a
// tenth of RSA, then the one that lasts longer.
func (c *Certificate) order(o *Certificate, now time.Time) int {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	return cmp.Or(
		first(now.Before(c.leaf.NotAfter), now.Before(o.leaf.NotAfter)),
		first(c.Source == FromFile, o.Source == FromFile),
		first(!isRSA(c.leaf), !isRSA(o.leaf)),
		o.leaf.NotAfter.Compare(c.leaf.NotAfter),
	)
}

// GetCertificate finds the certificate for a handshake: one that has the name
// itself (or, for a client that names none, the address it has reached), then one
// with a wildcard for it, then the default one; and among those the best that the
// client can do. Without one it returns nil, which crypto/tls answers with the
// alert unrecognized_name, as long as the tls.Config has no Certificates of its
// own. One that has ended is for want of a better one. It takes no lock and parses
// nothing.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now()
	list := s.current.Load().find(asked(hello), now)
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > 1 {
		for _, c := range list {
			if served := c.served.Load(); now.Before(c.leaf.NotAfter) && hello.SupportsCertificate(served) == nil {
				return served, nil
			}
		}
	}
	return list[0].served.Load(), nil
}

// asked is the name that a client asks for. One that was given an address asks
// for no name, as RFC 6066 section 3 has it, and means the address it has reached.
func asked(hello *tls.ClientHelloInfo) string {
	if hello.ServerName != "" || hello.Conn == nil {
		return hello.ServerName
	}
	if a, ok := hello.Conn.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	return ""
}

// Covers says whether a handshake that asks for the name gets a certificate
// that is for it, rather than the default one or none. Names with a wildcard
// are covered by the same name.
func (s *Store) Covers(name string) bool {
	return len(s.current.Load().named(strings.ToLower(name), time.Now())) > 0
}

// fileCovers says whether a certificate in a file is for the name, and has not ended.
func (s *Store) fileCovers(name string) bool {
	now := time.Now()
	return slices.ContainsFunc(s.current.Load().named(name, now), func(c *Certificate) bool {
		return c.Source == FromFile && now.Before(c.leaf.NotAfter)
	})
}

// Empty says whether there is no Certificate at all.
func (s *Store) Empty() bool {
	x := s.current.Load()
	return x == nil || len(x.exact)+len(x.wildcard) == 0
}

// find lists the Certificates for a name, best first.
func (x *index) find(name string, now time.Time) []*Certificate {
	if x == nil {
		return nil
	}
	if list := x.named(strings.ToLower(name), now); len(list) > 0 {
		return list
	}
	if x.standard != nil {
		return []*Certificate{x.standard}
	}
	return nil
}

// named lists the Certificates that have a name, or else a wildcard for it. Those
// of the name that have all ended stand behind a wildcard's that has not.
func (x *index) named(name string, now time.Time) []*Certificate {
	if x == nil {
		return nil
	}
	exact := x.exact[name]
	if lasting(exact, now) {
		return exact
	}
	_, rest, _ := strings.Cut(name, ".")
	if wild := x.wildcard[rest]; len(exact) == 0 || lasting(wild, now) {
		return wild
	}
	return exact
}

// lasting says whether one of the list has not ended.
func lasting(list []*Certificate, now time.Time) bool {
	return slices.ContainsFunc(list, func(c *Certificate) bool { return now.Before(c.leaf.NotAfter) })
}
