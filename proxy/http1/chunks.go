package http1

import (
	"bytes"
	"strconv"
)

// ChunkMode says what Chunks makes of a chunked body.
type ChunkMode uint8

const (
	KeepFraming ChunkMode = iota // a chunked stream without extensions, its trailer section filtered
	DropFraming                  // the data alone, for HTTP/1.0 recipients
	DropTrailer                  // a chunked stream without extensions and without trailer fields
)

// LastChunk ends a chunked body that has no trailer section.
const LastChunk = "0\r\n\r\n"

// Chunks validates a chunked body as it streams by (RFC 9112 7.1) and turns it
// into what may be forwarded. A chunk's size line is only forwarded once it has
// been read to its end, the last chunk only with the whole trailer section.
// The zero value reads a body in KeepFraming mode.
type Chunks struct {
	state  chunkState
	mode   ChunkMode
	digits uint8 // in line
	zeros  uint8
	line   [maxChunkDigits + 2]byte // size line as it is to be forwarded
	left   int64                    // data bytes of the chunk that are still to come
	data   int64
	ext    int // extension bytes of this chunk
	extSum int64

	trailer trailer
}

type chunkState uint8

const (
	chunkSize    chunkState = iota
	chunkExtName            // at the first byte of an extension's name
	chunkExtNameMore
	chunkExtValue // at the first byte of an extension's value
	chunkExtValueMore
	chunkExtQuoted
	chunkExtEscaped
	chunkExtEnd // behind a quoted value
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

// Reset prepares c for the next body. A trailer section of more than
// maxTrailer bytes is refused; 0 means 8 KiB.
func (c *Chunks) Reset(mode ChunkMode, maxTrailer int) {
	*c = Chunks{mode: mode, trailer: trailer{buf: c.trailer.buf[:0], limit: maxTrailer, drop: mode == DropTrailer}}
}

// Done reports whether the body has ended.
func (c *Chunks) Done() bool { return c.state == chunkDone }

// Data returns the number of data bytes so far.
func (c *Chunks) Data() int64 { return c.data }

// Next consumes n bytes of p and returns what is to be forwarded for them. out
// is memory of p, which is overwritten, or of c, which lives until the next
// call. Call Next until n == len(p) or done; when done, p[n:] belongs to the
// next message. After a Reject, what was returned before must not pass for a
// complete body.
func (c *Chunks) Next(p []byte) (out []byte, n int, done bool, rej *Reject) {
	w := 0 // p[:w] is to be forwarded
	for r := 0; r < len(p); {
		switch c.state {
		case chunkData:
			k := int(min(c.left, int64(len(p)-r)))
			w = c.move(p, w, r, k)
			r += k
			c.data += int64(k)
			if c.left -= int64(k); c.left == 0 {
				c.state = chunkDataCR
			}
		case chunkDataCR, chunkDataLF:
			if p[r] != "\r\n"[c.state-chunkDataCR] {
				return nil, r, false, rejectChunkEnd
			}
			if c.mode != DropFraming {
				w = c.move(p, w, r, 1)
			}
			r++
			c.state++
			if c.state == chunkTrailer {
				c.start()
			}
		case chunkTrailer:
			if w > 0 && !bytes.HasPrefix(p[r:], crlf) {
				return p[:w], r, false, nil // the section is memory of c, a span of its own
			}
			k, end, rej := c.trailer.next(p[r:])
			if rej != nil {
				return nil, r, false, rej
			}
			if r += k; end {
				c.state = chunkDone
				return c.finish(p, w, r), r, true, nil
			}
		case chunkDone:
			return nil, r, true, nil
		default:
			k, rej := c.sizeLine(p[r:])
			if rej != nil {
				return nil, r, false, rej
			}
			if r += k; c.state != chunkData || c.mode == DropFraming {
				break
			}
			line := append(c.line[:c.digits], crlf...)
			if r-w < len(line) {
				// The line began in an earlier p, so nothing of this one is pending.
				return line, r, false, nil
			}
			w += copy(p[w:], line)
		}
	}
	return p[:w], len(p), c.state == chunkDone, nil
}

var crlf = []byte("\r\n")

// move closes the gap between what is to be forwarded and the k bytes at r.
func (c *Chunks) move(p []byte, w, r, k int) int {
	if w != r {
		copy(p[w:], p[r:r+k])
	}
	return w + k
}

// finish returns the rest of the forwarded body; p[:w] of it is pending and
// p[:r] consumed.
func (c *Chunks) finish(p []byte, w, r int) []byte {
	switch {
	case c.mode == DropFraming:
		return p[:w]
	case c.trailer.kept:
		return c.trailer.buf
	case r-w < len(LastChunk):
		return c.line[:copy(c.line[:], LastChunk)]
	}
	return p[:w+copy(p[w:], LastChunk)]
}

// AppendChunk appends data as one chunk to dst. Empty data appends nothing, as
// an empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(len(data)), 16)
	dst = append(dst, '\r', '\n')
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}
