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
	if err := s.TLS.Validate(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	if s.ProxyProtocol > ProxyV2 {
		return fmt.Errorf("proxy_protocol: unknown version %d; want v1 or v2", s.ProxyProtocol)
	}
	for _, limit := range []struct {
		key   string
		value int64
	}{
		{"max_connections", int64(s.MaxConnections)},
		{"queue_length", int64(s.QueueLength)},
		{"queue_timeout", int64(s.QueueTimeout)},
		{"connect_timeout", int64(s.ConnectTimeout)},
		{"response_timeout", int64(s.ResponseTimeout)},
		{"hold", int64(valueOf(s.Hold, 0))},
		{"retries", int64(valueOf(s.Retries, 0))},
	} {
		if limit.value < 0 {
			return fmt.Errorf("%s: it is negative; want 0 or more", limit.key)
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
	// A request has exactly one Host, and a response none.
	if err := r.RequestHeaders.check(true); err != nil {
		return fmt.Errorf("request_headers: %w", err)
	}
	if err := r.ResponseHeaders.check(false); err != nil {
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
	switch {
	case r.ByMethod && r.Code == 0:
	case r.Code >= 301 && r.Code <= 303, r.Code == 307, r.Code == 308:
	default:
		return fmt.Errorf("redirect: code %d is no redirect; want 301, 302, 303, 307 or 308", r.Code)
	}
	switch {
	case r.Pattern != "":
		return nil
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

func (e *HeaderEdit) check(setsHost bool) error {
	for _, f := range e.Set {
		if err := f.check(setsHost); err != nil {
			return err
		}
	}
	for _, f := range e.Add {
		if err := f.check(false); err != nil {
			return err
		}
	}
	for _, name := range e.Remove {
		if err := checkFieldName(name, false); err != nil {
			return err
		}
	}
	return nil
}

func (f *HeaderField) check(host bool) error {
	for i := range len(f.Value) {
		if c := f.Value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("%s: the value %q holds a control character; a field is one line", f.Name, f.Value)
		}
	}
	return checkFieldName(f.Name, host)
}

func checkFieldName(name string, host bool) error {
	if name == "" {
		return errors.New("a field without a name")
	}
	for i := range len(name) {
		if c := name[i]; !isFieldByte(c) {
			return fmt.Errorf("%q is no field name: %q may not stand in it", name, c)
		}
	}
	if strings.EqualFold(name, "Host") && !host {
		return errors.New("host can only be set, and only in request_headers")
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
