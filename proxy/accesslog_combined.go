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
	for _, c := range p {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c < 0x7f:
			b = append(b, c)
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
