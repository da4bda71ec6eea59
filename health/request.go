package health

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Probe is the request that an HTTP check sends, as its request_line says.
type Probe struct {
	Method  string
	Target  string
	Version string   // HTTP/1.0 or HTTP/1.1
	Fields  []string // further header lines, "Name: value"
	Body    string   // what follows an empty line in the request_line, mostly ""
}

// ParseRequestLine reads "method path version" the way HAProxy reads the
// arguments of `option httpchk`. A path alone means OPTIONS; without a version
// it is HTTP/1.0. Words may be quoted; outside ” a backslash stands before a
// space, a quote, # or itself, \r \n \t mean what they do in C, \xHH is a byte.
// Header lines follow the version after a line break, written \r\n. Where
// HAProxy would complain of too many words after that break, they are headers.
func ParseRequestLine(s string) (*Probe, error) {
	words, err := splitWords(s)
	if err != nil {
		return nil, err
	}
	p := &Probe{Method: "OPTIONS", Version: "HTTP/1.0"}
	switch len(words) {
	case 0:
		return nil, errors.New("is empty; leave it out for a TCP connect")
	case 1:
		p.Target = words[0]
	case 2:
		p.Method, p.Target = words[0], words[1]
	case 3:
		p.Method, p.Target = words[0], words[1]
		if err := p.setTail(words[2]); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf(`has %d words, want at most "method path version"; quote a word with spaces or write "\ "`, len(words))
	}
	return p, p.validate()
}

// setTail takes apart the third word: version, header lines, body.
func (p *Probe) setTail(tail string) error {
	p.Version, tail = cutLine(tail)
	for tail != "" {
		var line string
		if line, tail = cutLine(tail); line == "" {
			p.Body = tail
			return nil
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) {
			return fmt.Errorf(`header line %q: want "Name: value"`, line)
		}
		if strings.ContainsFunc(value, isControl) {
			return fmt.Errorf("header line %q: control character", line)
		}
		p.Fields = append(p.Fields, name+": "+strings.TrimSpace(value))
	}
	return nil
}

// cutLine cuts s after its first line, which ends with \n or \r\n.
func cutLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func (p *Probe) validate() error {
	if !isToken(p.Method) {
		return fmt.Errorf("method %q: want one like GET, HEAD or OPTIONS", p.Method)
	}
	if t := p.Target; t != "*" && !strings.HasPrefix(t, "/") && !strings.HasPrefix(t, "http://") {
		return fmt.Errorf(`path %q: want one that begins with "/"`, t)
	}
	for i := range len(p.Target) {
		if c := p.Target[i]; c <= ' ' || c == 0x7f {
			return fmt.Errorf("path %q: write %q as %%%02X", p.Target, c, c)
		}
	}
	if p.Version != "HTTP/1.0" && p.Version != "HTTP/1.1" {
		return fmt.Errorf("version %q: want HTTP/1.0 or HTTP/1.1", p.Version)
	}
	return nil
}

// request is the bytes to send. The Host field is hostname, else the one among
// Fields, else, as HTTP/1.1 demands one (RFC 9112, 3.2), the address.
func (p *Probe) request(hostname string, addr netip.AddrPort) []byte {
	has := func(name string) bool {
		for _, f := range p.Fields {
			if n, _, _ := strings.Cut(f, ":"); strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	if hostname == "" && !has("Host") && p.Version == "HTTP/1.1" {
		hostname = addr.String()
	}
	b := fmt.Appendf(nil, "%s %s %s\r\n", p.Method, p.Target, p.Version)
	if hostname != "" {
		b = fmt.Appendf(b, "Host: %s\r\n", hostname)
	}
	for _, f := range p.Fields {
		if n, _, _ := strings.Cut(f, ":"); hostname != "" && strings.EqualFold(n, "Host") {
			continue
		}
		b = fmt.Appendf(b, "%s\r\n", f)
	}
	if p.Version == "HTTP/1.1" && !has("Connection") {
		b = append(b, "Connection: close\r\n"...)
	}
	if p.Body != "" && !has("Content-Length") && !has("Transfer-Encoding") {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(p.Body))
	}
	b = append(b, "\r\n"...)
	return append(b, p.Body...)
}

// splitWords splits at blanks and resolves quotes and escapes.
func splitWords(s string) ([]string, error) {
	var (
		words  []string
		word   []byte
		inWord bool
		quote  byte // the quote we are in, 0 outside
	)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote != '\'' && c == '\\':
			b, n, err := unescape(s[i:])
			if err != nil {
				return nil, err
			}
			word, inWord = append(word, b), true
			i += n - 1
		case quote == 0 && (c == ' ' || c == '\t') && !(len(words) == 2 && strings.IndexByte(string(word), '\n') >= 0):
			if inWord {
				words, word, inWord = append(words, string(word)), word[:0], false
			}
		default:
			word, inWord = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, nil
}

// unescape resolves the escape at the beginning of s and says how long it is.
// A backslash before anything else stands for itself.
func unescape(s string) (b byte, n int, err error) {
	if len(s) < 2 {
		return '\\', 1, nil
	}
	switch c := s[1]; c {
	case 'r':
		return '\r', 2, nil
	case 'n':
		return '\n', 2, nil
	case 't':
		return '\t', 2, nil
	case ' ', '\\', '#', '"', '\'', '$':
		return c, 2, nil
	case 'x':
		if len(s) >= 4 {
			if n, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
				return byte(n), 4, nil
			}
		}
		return 0, 0, fmt.Errorf(`escape %q: want \x and two hexadecimal digits`, s[:min(len(s), 4)])
	default:
		return '\\', 1, nil
	}
}

// isToken says whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
