package certs

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Info is what an operator may want to know of a certificate.
type Info struct {
	Names               []string
	Source              string // FromFile or FromACME
	Origin              string // the file, or the name that it was ordered for
	Default             bool   // for clients that ask for a name that none has
	Issuer              string // distinguished name
	Serial              string // hexadecimal
	Key                 string // "ecdsa P-256", "rsa 2048"
	NotBefore, NotAfter time.Time
	OCSP                string    // what became of asking its responder, in words; "": it names none
	MustStaple          bool      // clients refuse it without a staple
	State               string    // of ACME: ACMEValid, ...; "": it is none of ACME's
	Error               string    // of getting the next one, in words; "": none
	NextTry             time.Time // of ACME, to get or to renew it; zero: none
}

// List is all there is to know, ordered by source and origin. A name that ACME
// has no certificate for yet has a line too.
func (s *Store) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Info
	for _, c := range slices.Concat(s.files, s.replaced) {
		all = append(all, c.info())
	}
	if s.standard != nil {
		i := s.standard.info()
		i.Default = true
		all = append(all, i)
	}
	for _, name := range slices.Sorted(maps.Keys(s.acme)) {
		o := s.acme[name]
		i := Info{Names: []string{name}, Source: FromACME, Origin: name}
		if o.certificate != nil {
			i = o.certificate.info()
		}
		i.State, i.Error, i.NextTry = o.State, o.Error, o.NextTry
		all = append(all, i)
	}
	slices.SortStableFunc(all, func(a, b Info) int {
		return cmp.Or(-cmp.Compare(a.Source, b.Source), cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

func (c *Certificate) info() Info {
	return Info{
		Names:      c.Names,
		Source:     c.Source,
		Origin:     c.Origin,
		Issuer:     c.leaf.Issuer.String(),
		Serial:     c.leaf.SerialNumber.Text(16),
		Key:        keyType(c.leaf),
		NotBefore:  c.leaf.NotBefore,
		NotAfter:   c.leaf.NotAfter,
		OCSP:       c.staple.words(),
		MustStaple: mustStaple(c.leaf),
	}
}

// Expiry says when the certificate ends that clients get who ask for name, and
// where it comes from.
type Expiry struct {
	Name, Source string
	NotAfter     time.Time
}

// Expiries has one for every name that there is a certificate for, in no order.
func (s *Store) Expiries() (all []Expiry) {
	x := s.current.Load()
	if x == nil {
		return nil
	}
	for name, list := range x.exact {
		all = append(all, Expiry{name, list[0].Source, list[0].leaf.NotAfter})
	}
	for name, list := range x.wildcard {
		all = append(all, Expiry{"*." + name, list[0].Source, list[0].leaf.NotAfter})
	}
	return all
}

// all are the Certificates in use.
func (s *Store) all() []*Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse()
}

// inUse is all for a caller that has mu.
func (s *Store) inUse() []*Certificate { return slices.Concat(s.chosen(), s.replaced) }

// chosen are those in use but the replaced. The caller has mu.
func (s *Store) chosen() []*Certificate {
	all := slices.Clone(s.files)
	if s.standard != nil {
		all = append(all, s.standard)
	}
	for _, name := range slices.Sorted(maps.Keys(s.acme)) {
		if c := s.acme[name].certificate; c != nil {
			all = append(all, c)
		}
	}
	return all
}
