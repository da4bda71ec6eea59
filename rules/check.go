package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// check says why no rule can use s.
func (s *Service) check() error {
	if s.Name == "" {
		return errors.New("it has no name")
	}
	if s.Balance != "" && pickers[s.Balance] == nil {
		known := slices.Sorted(maps.Keys(pickers))
		return fmt.Errorf("balance: unknown policy %q; want %s", s.Balance, strings.Join(known, ", "))
	}
	if s.Check != nil {
		if err := s.Check.Validate(); err != nil {
			return fmt.Errorf("health_check: %w", err)
		}
	}
	for _, inst := range s.Instances {
		if w := weightOf(inst.Weight); w < 0 || w > mostWeight {
			return fmt.Errorf("server %q: weight: %d is out of range; want 0 to %d", inst.Host, w, mostWeight)
		}
	}
	return nil
}

// checkEdits validates what a rule changes on the way.
func (r *Rule) checkEdits() error {
	for _, p := range []struct{ key, path string }{
		{"strip_prefix", r.StripPrefix}, {"add_prefix", r.AddPrefix}, {"replace_path", r.ReplacePath},
	} {
		if p.path != "" && !strings.HasPrefix(p.path, "/") {
			return fmt.Errorf("%s: %q has no leading slash; want %q", p.key, p.path, "/"+p.path)
		}
		if !isPathText(p.path) {
			return fmt.Errorf("%s: %q may not stand in a request; percent-encode it", p.key, p.path)
		}
	}
	if err := r.RequestHeaders.Validate(); err != nil {
		return fmt.Errorf("request_headers: %w", err)
	}
	if err := r.ResponseHeaders.Validate(); err != nil {
		return fmt.Errorf("response_headers: %w", err)
	}
	return nil
}

// isPathText says whether s may be written into a request line or a Location as it is.
func isPathText(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func (r *Redirect) check() error {
	switch r.Code {
	case 301, 302, 303, 307, 308:
	default:
		return fmt.Errorf("redirect: code %d is no redirect; want 301, 302, 303, 307 or 308", r.Code)
	}
	switch {
	case r.Scheme == "" && r.Host == "" && r.Port == 0 && r.Path == "":
		return errors.New("redirect: it leads back to the same place; want a scheme, host, port or path")
	case r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https":
		return fmt.Errorf("redirect: scheme %q; want http or https", r.Scheme)
	case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
		return fmt.Errorf("redirect: path: %q has no leading slash; want %q", r.Path, "/"+r.Path)
	case !isPathText(r.Path):
		return fmt.Errorf("redirect: path: %q may not stand in a Location; percent-encode it", r.Path)
	}
	if r.Host == "" {
		return nil
	}
	if h, err := parseHost(r.Host); err != nil || h.kind != hostExact {
		return fmt.Errorf("redirect: host: %q is not the name of a host", r.Host)
	}
	return nil
}

// ours are the fields that frame messages or belong to one connection: the
// engine writes them, and an edit could only break them (RFC 9110 section 7.6.1).
var ours = []string{
	"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Validate says what in the edit cannot be done.
func (e *HeaderEdit) Validate() error {
	for _, f := range slices.Concat(e.Set, e.Add) {
		if err := checkFieldName(f.Name); err != nil {
			return err
		}
		if strings.ContainsAny(f.Value, "\r\n\x00") {
			return fmt.Errorf("%s: value %q has a line break or NUL in it", f.Name, f.Value)
		}
	}
	for _, name := range e.Remove {
		if err := checkFieldName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkFieldName(name string) error {
	if name == "" {
		return errors.New("a field without a name")
	}
	for i := range len(name) {
		if c := name[i]; !isFieldByte(c) {
			return fmt.Errorf("%q is no field name: %q may not stand in it", name, c)
		}
	}
	for _, o := range ours {
		if strings.EqualFold(name, o) {
			return fmt.Errorf("%s is set by lb itself and cannot be edited", o)
		}
	}
	return nil
}

// isFieldByte is tchar of RFC 9110 section 5.6.2.
func isFieldByte(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
