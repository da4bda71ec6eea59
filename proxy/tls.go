package proxy

import (
	"container/list"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/proxy/loop"
)

// secure is what a wire has while it speaks TLS.
type secure struct {
	*loop.TLS
	owner shaker        // nil once the handshake is over
	by    int64         // when the handshake must be over
	who   netip.Addr    // on whose account: a client's holder, or a server
	side  uint8         // whom it is with
	place *list.Element // in shares, while it waits for its turn to begin

	stepped bool // a step of the handshake is over and not looked at

	serverName string      // as the client asked for it, lower case
	name       string      // the same, or the address that was asked instead: what decides on the certificate
	config     *tls.Config // of the port, at the handshake or when it was last looked at
	checked    int64       // when that was
	covered    string      // the last host that the connection was found good for
	version    uint16
	cipher     uint16
	resumed    bool
	truncated  bool // the stream has ended without a close_notify
	mute       bool // our own ends without one too

	peer *x509.Certificate // of a client that has proved to have it
	told *certFields       // what Backends are told of it
}

// shaker is whose handshake it is.
type shaker interface {
	// secured says that the handshake has ended well.
	secured()
	// unsecured says that it has not, and why.
	unsecured(r handshakeResult, err error)
}

// begin prepares the handshake; open makes the tls.Conn, on a worker.
func (w *wire) begin(open func(net.Conn) (*tls.Conn, error)) {
	s, k := w.tls, w.core
	work := func(f func()) { k.proxy.work(s.who, f) }
	s.TLS = loop.NewTLS(k.loop, w.FD(), open, work, func() {
		s.stepped = true
		k.loop.Again(&w.Conn, loop.Writable) // there, a panic costs this connection alone
	})
	k.proxy.shaking.Add(1)
}

// shaking says whether the handshake is still to be done.
func (w *wire) shaking() bool { return w.tls != nil && w.tls.owner != nil }

// shake goes on with the handshake: after a step, and with what has arrived.
func (w *wire) shake() {
	h := w.tls.Shake()
	if w.tls.stepped {
		w.tls.stepped = false
		if !w.goesOn(h) {
			return
		}
	}
	if h.Busy() || !w.canRead {
		return
	}
	buf := w.core.loop.In()
	n, err := w.readSocket(buf)
	switch {
	case err == loop.ErrAgain:
	case err != nil:
		w.endShake(shakeClosed, err)
	case n == 0:
		w.endShake(shakeClosed, io.EOF)
	default:
		h.Step(buf[:n])
	}
}

// goesOn does what a step has left to do. False: the handshake is over.
func (w *wire) goesOn(h *loop.Handshake) bool {
	done, err := h.Done()
	if out := h.Output(); len(out) > 0 {
		if sent := w.out.send(w.core.loop, w.FD(), out, nil); sent != nil && sent != loop.ErrAgain && !done {
			w.endShake(shakeClosed, sent)
			return false
		}
		if !done {
			w.SetDeadline(w.tls.by) // it was a whole ClientHello
		}
	}
	switch {
	case !done:
		return true
	case err != nil:
		w.endShake(resultOf(err), err)
	default:
		w.finishShake()
	}
	return false
}

// finishShake makes the wire one that can be read and written.
func (w *wire) finishShake() {
	s := w.tls
	local := s.Shake().Local
	s.Shake().Finish()
	state := s.State()
	s.serverName, s.version, s.cipher, s.resumed = strings.ToLower(state.ServerName), state.Version, state.CipherSuite, state.DidResume
	if s.name = s.serverName; s.name == "" && local.IsValid() {
		s.name = local.Addr().Unmap().WithZone("").String()
	}
	if len(state.VerifiedChains) > 0 {
		s.peer = state.PeerCertificates[0]
	}
	w.canRead = true // what came with the last flight is with us already
	if state.NegotiatedProtocol == acmeProtocol {
		w.endShake(shakeChallenge, nil)
		return
	}
	w.leaveShake(s.result()).secured()
}

// acmeProtocol is that of a CA that checks a name (RFC 8737): the certificate was
// the answer.
const acmeProtocol = "acme-tls/1"

// endShake gives a handshake up.
func (w *wire) endShake(r handshakeResult, err error) {
	if p := (*loop.Panic)(nil); errors.As(err, &p) {
		w.core.proxy.panics.add()
		w.core.proxy.log.Error("panic in a TLS handshake", zap.Any("value", p.Value), zap.ByteString("stack", p.Stack))
	}
	w.leaveShake(r).unsecured(r, err)
}

// leaveShake counts a handshake that is over.
func (w *wire) leaveShake(r handshakeResult) (owner shaker) {
	owner, w.tls.owner = w.tls.owner, nil
	switch p := w.core.proxy; {
	case w.tls.TLS != nil:
		p.shaking.Add(-1)
		if w.tls.side == sideClient { // those with servers keep no clients out
			p.greeting.leave(w.tls.who)
		}
	case w.tls.place != nil:
		p.greeting.forget(w.tls.who, w.tls.place)
	}
	w.core.stats.shakes[w.tls.side][r].inc()
	return owner
}

// abandon lets go of a handshake when the connection closes.
func (w *wire) abandon() {
	if w.shaking() {
		w.leaveShake(shakeClosed)
	}
	if s := w.tls; s.TLS != nil && s.Shake() != nil {
		s.Shake().Abandon()
	}
}

// unseal is read under TLS.
func (w *wire) unseal(p []byte) (int, error) {
	n, dry, err := w.tls.Read(p)
	if dry && !w.peerClosed {
		w.canRead = false
	}
	if out := w.tls.Sealed(); len(out) > 0 {
		if w.out.size() > maxUntaken {
			return 0, errUntaken
		}
		if err := w.out.send(w.core.loop, w.FD(), out, nil); err != nil && err != loop.ErrAgain {
			return 0, err
		}
	}
	switch err {
	case loop.ErrAgain:
		w.canRead = false
	case loop.ErrTruncated:
		w.tls.truncated = true
		err = io.EOF
	}
	if err == io.EOF {
		w.canRead, w.peerClosed = false, true
		return 0, nil
	}
	return n, err
}

// maxUntaken is how many bytes may wait for a peer that has something said to it
// by what it sends (a KeyUpdate asks for one in return), and does not read that.
const maxUntaken = 256 << 10

var errUntaken = errors.New("the peer asks for new keys and does not take them")

// sayEnd tells the peer once, behind what is in out, that what follows is the
// end and not a cut.
func (w *wire) sayEnd() {
	if w.tls == nil || w.tls.TLS == nil || w.tls.mute || w.tls.Shake() != nil || w.tls.SealEnd() != nil {
		return
	}
	if end := w.tls.Sealed(); len(end) > 0 {
		_ = w.out.send(w.core.loop, w.FD(), end, nil) // an error will show again, or be of no matter
	}
}

// wasCut says whether the stream ended in a way that anybody could have brought about.
func (w *wire) wasCut() bool { return w.tls != nil && w.tls.truncated }

// endLike has the end of our direction vouch for no more than that of from does.
func (w *wire) endLike(from *wire) {
	if w.tls != nil && from.wasCut() {
		w.tls.mute = true
	}
}

// helloTimeout is how long a client may take for its ClientHello.
const helloTimeout = int64(5 * time.Second)

// abandonShakes lets go of the handshakes of a Loop that has ended.
func (k *core) abandonShakes() {
	for _, c := range k.clients {
		if c.tls != nil {
			c.abandon()
		}
		if c.x != nil && c.x.up != nil && c.x.up.tls != nil {
			c.x.up.abandon()
		}
	}
}
