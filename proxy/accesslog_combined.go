package proxy

import "strconv"

// appendCombined writes Apache's combined format and nothing else, so that the
// tools for it read it.
func appendCombined(b []byte, l *line) []byte {
	x := l.x
	b = x.client.peer.Addr().AppendTo(b)
	b = append(append(append(b, " - - ["...), l.began.combined...), "] \""...)
	if l.minor == noVersion {
		b = append(b, '-')
	} else {
		b = append(appendApache(b, l.pieces[noteMethod]), ' ')
		b = append(appendApache(b, l.pieces[noteTarget]), ' ')
		b = append(b, l.protocol()...)
	}
	b = strconv.AppendInt(append(b, "\" "...), int64(x.status), 10)
	b = append(b, ' ')
	if x.respBytes > 0 {
		b = strconv.AppendInt(b, x.respBytes, 10)
	} else {
		b = append(b, '-')
	}
	for _, piece := range [...]int{noteReferer, noteAgent} {
		b = append(b, " \""...)
		if p := l.pieces[piece]; len(p) > 0 {
			b = appendApache(b, p)
		} else {
			b = append(b, '-')
		}
		b = append(b, '"')
	}
	return append(b, '\n')
}

// appendApache escapes as Apache does in its logs.
func appendApache(b, p []byte) []byte {
	plain := 0 // what is not copied yet begins here
	for i, c := range p {
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, p[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(b, p[plain:]...)
}
