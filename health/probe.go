package health

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// maxHead bounds the response head a probe reads: ours are small, and an
	// endless one must not cost memory.
	maxHead = 16 << 10
	// maxInterim bounds the 1xx responses before the one that counts.
	maxInterim = 8
	// How much of a body, and how long, a closing probe reads.
	maxDrain  = 64 << 10
	drainTime = 100 * time.Millisecond
)

// errOurs marks a probe that could not be made for reasons of our own: it says
// nothing about the server.
var errOurs = errors.New("probe not possible")

// readers keeps the probes' buffers, which would else be most of their garbage.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxHead) }}

// probe is a compiled Check for one address.
type probe struct {
	check   Check // defaults applied
	addr    netip.AddrPort
	in      entrance
	request []byte // nil: TCP connect, and a TLS handshake where there is TLS
	want    statuses
}

func newProbe(addr netip.AddrPort, c *Check, t *Transport) (*probe, error) {
	p := &probe{check: c.withDefaults(), addr: addr}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var err error
	if p.in, err = entranceTo(t, c, addr.Port()); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if c.Port != 0 {
		p.addr = netip.AddrPortFrom(addr.Addr(), c.Port)
	}
	p.want, _ = parseStatuses(p.check.ExpectStatus)
	if p.check.RequestLine != "" {
		line, _ := ParseRequestLine(p.check.RequestLine)
		p.request = line.request(p.check.Hostname, p.addr)
	}
	return p, nil
}

// run makes the check once, within its response timeout, and returns why it
// failed, in words for people; nil when it passed. An error that wraps errOurs
// is no verdict.
func (p *probe) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.check.ResponseTimeout)
	defer cancel()
	// Keep-alive probes have no business on a connection this short.
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", p.addr.String())
	if err != nil {
		return p.reason("connect", err)
	}
	outer := conn
	defer func() { _ = conn.Close() }() // the verdict stands already
	stop := context.AfterFunc(ctx, func() { _ = outer.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, step, err := p.in.enter(conn)
	if err != nil {
		return p.reason(step, err)
	}
	if p.request == nil {
		if stop() {
			leave(conn)
		}
		return nil
	}
	if _, err := conn.Write(p.request); err != nil {
		return p.reason("send", err)
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(conn)
	defer func() {
		r.Reset(nil)
		readers.Put(r)
	}()
	var head fasthttp.ResponseHeader
	if err := p.read(r, &head); err != nil {
		return err
	}
	if stop() {
		p.drain(conn, r, head.ContentLength())
	}
	if code := head.StatusCode(); !p.want.has(code) {
		return fmt.Errorf("status %d, want %s", code, p.check.ExpectStatus)
	}
	return nil
}

// read takes heads up to the first final one. The body does not matter: it may
// be endless.
func (p *probe) read(r *bufio.Reader, head *fasthttp.ResponseHeader) error {
	for range maxInterim {
		if _, err := r.Peek(1); err == io.EOF {
			return errors.New("connection closed before a response")
		} else if err != nil {
			return p.reason("read", err)
		}
		if err := head.Read(r); err != nil {
			return p.badHead(err)
		}
		if code := head.StatusCode(); code >= 200 || code == fasthttp.StatusSwitchingProtocols {
			return nil
		}
	}
	return fmt.Errorf("bad response: more than %d interim responses", maxInterim)
}

// drain reads the body, within reason, before the connection is closed: with
// unread bytes the close would be a reset, which servers report as an error.
func (p *probe) drain(conn net.Conn, r *bufio.Reader, length int) {
	if length < 0 || length > maxDrain {
		length = maxDrain
	}
	if bytes.HasPrefix(p.request, []byte("HEAD ")) {
		return
	}
	if conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = r.Discard(length) // best effort by nature
	}
}

func (p *probe) badHead(err error) error {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		return fmt.Errorf("bad response: head is longer than %d bytes", maxHead)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("bad response: connection closed inside the head")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, fasthttp.ErrTimeout):
		return p.reason("read", os.ErrDeadlineExceeded)
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the copy of the whole buffer
	}
	const enough = 120
	text := err.Error()
	if len(text) > enough {
		text = text[:enough] + "..."
	}
	return errors.New("bad response: " + text)
}

// reason turns an error of the network into the words users search for.
func (p *probe) reason(op string, err error) error {
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &errno) && ours(errno):
		return fmt.Errorf("%w: %s: %s", errOurs, op, errno.Error())
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		if op == "connect" || op == "tls handshake" {
			return fmt.Errorf("%s: no answer in %s", op, p.check.ResponseTimeout)
		}
		return fmt.Errorf("no answer in %s", p.check.ResponseTimeout)
	case errno != 0:
		return fmt.Errorf("%s: %s", op, errno.Error())
	case err == io.EOF:
		return fmt.Errorf("%s: connection closed", op)
	default:
		return fmt.Errorf("%s: %s", op, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// ours lists the errors that tell of our own limits: out of descriptors,
// memory or local ports. They must not take servers down.
func ours(e syscall.Errno) bool {
	switch e {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		return true
	}
	return false
}
