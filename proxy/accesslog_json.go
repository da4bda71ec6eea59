package proxy

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// appendJSON writes one JSON object. What is not known, or 0 where that says
// nothing, is left out.
func appendJSON(b []byte, l *line) []byte {
	x := l.x
	b = append(append(b, `{"time":"`...), l.began.iso...)
	b = append(b, '.', byte('0'+l.began.millis/100), byte('0'+l.began.millis/10%10), byte('0'+l.began.millis%10))
	b = appendAddr(append(b, `Z","client":`...), x.client.peer)
	b = appendText(b, `,"method":`, l.pieces[noteMethod])
	b = appendText(b, `,"host":`, l.pieces[noteHost])
	b = appendText(b, `,"path":`, l.pieces[noteTarget])
	b = appendText(b, `,"proto":`, l.protocol())
	b = appendNumber(b, `,"port":`, int64(x.state.port))
	if s := x.client.tls; s != nil {
		b = appendText(b, `,"tls":`, tls.VersionName(s.version))
		b = appendText(b, `,"cipher":`, tls.CipherSuiteName(s.cipher))
	}
	b = appendNumber(b, `,"status":`, int64(x.status))
	if x.entry != nil {
		b = appendRouted(b, x)
	}
	b = appendNumber(b, `,"bytes_in":`, x.reqBytes)
	b = appendNumber(b, `,"bytes_out":`, x.respBytes)
	b = l.appendPhases(b)
	if x.failed != nil {
		b = appendText(b, `,"reason":`, x.failed.word)
		if x.detail == "" {
			b = appendText(b, `,"detail":`, x.failed.text)
		}
	}
	b = appendText(b, `,"detail":`, x.detail)
	b = appendText(b, `,"request_id":`, x.id[:x.idLen])
	b = appendText(b, `,"user_agent":`, l.pieces[noteAgent])
	b = appendText(b, `,"referer":`, l.pieces[noteReferer])
	return append(b, "}\n"...)
}

// appendRouted says where the Exchange went.
func appendRouted(b []byte, x *Exchange) []byte {
	b = appendText(b, `,"rule":`, x.entry.Rule.Name)
	b = appendText(b, `,"service":`, x.service())
	if x.target == nil {
		return b
	}
	b = appendAddr(append(b, `,"backend":`...), x.target.Backend.Addr)
	b = appendNumber(b, `,"attempts":`, int64(x.attempts))
	if x.reused {
		b = append(b, `,"reused":true`...)
	}
	return b
}

// appendPhases says how long each phase took, as far as the Exchange came.
func (l *line) appendPhases(b []byte) []byte {
	x := l.x
	from := x.began
	for _, phase := range [...]struct {
		name string
		end  int64
	}{
		{`,"queue_us":`, x.taken},
		{`,"connect_us":`, x.connected},
		{`,"send_us":`, x.sentAt},
		{`,"wait_us":`, x.answered},
	} {
		if phase.end >= from { // an early answer comes before the request is sent to its end
			b = appendNumber(b, phase.name, (phase.end-from)/1e3)
			from = phase.end
		}
	}
	if x.answered != 0 {
		b = appendNumber(b, `,"body_us":`, (l.now-from)/1e3)
	}
	return appendNumber(b, `,"total_us":`, (l.now-x.began)/1e3)
}

func appendNumber(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

func appendAddr(b []byte, a netip.AddrPort) []byte {
	return append(a.AppendTo(append(b, '"')), '"')
}

// appendText writes a key and a string, nothing if that is empty.
func appendText[T string | []byte](b []byte, key string, s T) []byte {
	if len(s) == 0 {
		return b
	}
	return appendString(append(b, key...), s)
}

// appendString writes any bytes as a JSON string (RFC 8259 section 7); what is not UTF-8 becomes U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	plain := 0 // what is not copied yet begins here
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[plain:i]...)
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = utf8.AppendRune(b, r)
			i += n
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			i++
		}
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}
