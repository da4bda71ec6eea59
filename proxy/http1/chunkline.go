package http1

const (
	maxChunkDigits = 15       // of a chunk size, leading zeros apart: it cannot overflow an int64
	maxChunkZeros  = 16       // leading zeros of a chunk size
	maxExtLine     = 4 << 10  // bytes of the extensions of one chunk
	maxExtTotal    = 16 << 10 // bytes of all extensions beyond one for each byte of data
)

// start expects the size line of a chunk.
func (c *Chunks) start() {
	c.state, c.digits, c.zeros, c.ext, c.left = chunkSize, 0, 0, 0, 0
}

// sizeLine reads as much of a size line as there is and returns the number of
// bytes consumed. At the end of the line it moves on to the data or trailers.
func (c *Chunks) sizeLine(p []byte) (int, *Reject) {
	for i, b := range p {
		switch {
		case c.state == chunkSize && unhex[b] != notHex:
			if rej := c.sizeDigit(b); rej != nil {
				return 0, rej
			}
		case c.state == chunkSizeLF:
			if b != '\n' {
				return 0, rejectBareCR
			}
			c.state = chunkData
			if c.left == 0 {
				c.state = chunkTrailer
			}
			return i + 1, nil
		default:
			next, rej := c.extension(b)
			if rej != nil {
				return 0, rej
			}
			c.state = next
		}
	}
	return len(p), nil
}

func (c *Chunks) sizeDigit(b byte) *Reject {
	if c.digits == 0 && b == '0' {
		if c.zeros++; c.zeros > maxChunkZeros {
			return rejectChunkSize
		}
		return nil
	}
	if c.digits == maxChunkDigits {
		return rejectChunkLarge
	}
	c.line[c.digits] = b
	c.digits++
	c.left = c.left<<4 | int64(unhex[b])
	return nil
}

// extension takes a byte of a size line behind the digits and returns the next
// state (RFC 9112 7.1.1, without white space around ";" and "=").
func (c *Chunks) extension(b byte) (chunkState, *Reject) {
	if c.state == chunkSize {
		if c.digits == 0 && c.zeros == 0 || b != ';' && b != '\r' {
			return 0, rejectChunkSize
		}
	} else if b != '\r' {
		c.ext++
		c.extSum++
		if c.ext > maxExtLine || c.extSum > maxExtTotal+c.data {
			return 0, rejectExtSize
		}
	}
	isToken := chars[b]&tchar != 0
	switch c.state {
	case chunkExtName, chunkExtValue:
		if isToken {
			return c.state + 1, nil
		}
		if b == '"' && c.state == chunkExtValue {
			return chunkExtQuoted, nil
		}
		return 0, rejectChunkExt
	case chunkExtNameMore, chunkExtValueMore:
		if isToken {
			return c.state, nil
		}
		if b == '=' && c.state == chunkExtNameMore {
			return chunkExtValue, nil
		}
	case chunkExtQuoted, chunkExtEscaped:
		return c.quoted(b)
	}
	switch b {
	case ';':
		return chunkExtName, nil
	case '\r':
		return chunkSizeLF, nil
	}
	return 0, rejectChunkExt
}

// quoted takes a byte of a quoted-string (RFC 9110 5.6.4).
func (c *Chunks) quoted(b byte) (chunkState, *Reject) {
	switch {
	case b < 0x20 && b != '\t' || b == 0x7f:
		return 0, rejectChunkExt
	case c.state == chunkExtEscaped:
		return chunkExtQuoted, nil
	case b == '"':
		return chunkExtEnd, nil
	case b == '\\':
		return chunkExtEscaped, nil
	}
	return chunkExtQuoted, nil
}
