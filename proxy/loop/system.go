package loop

import (
	"errors"
	"net/netip"
)

// System is everything the engine asks of the operating system: the seam where
// a simulated network and clock stand in. No call blocks except Wait, and none
// but Wake may come from outside the one goroutine that owns the System.
//
// Errors other than ErrAgain are a syscall.Errno. Interrupted calls are
// repeated inside.
type System interface {
	// Now is the monotonic clock in nanoseconds, never 0.
	Now() int64
	// Accept takes one waiting connection off the listening socket fd, ErrAgain
	// if there is none. The new socket is non-blocking, closed on exec and sends
	// without delay; peer is unmapped if it was an IPv4 address inside an IPv6 one.
	Accept(fd int) (nfd int, peer netip.AddrPort, err error)
	// Quiesce keeps new connections from the listening socket fd and lets those
	// through that have begun, so that after a moment nobody waits in it when it is
	// closed. Without effect where the system cannot. It holds for all copies of fd.
	Quiesce(fd int)
	// Connect starts a TCP connection. It is decided when the socket becomes
	// Writable or Failed; ConnectResult then says how.
	Connect(to netip.AddrPort) (fd int, err error)
	// ConnectResult is nil for a connection that stands.
	ConnectResult(fd int) error
	// Unheard has the TCP connection fd fail with ETIMEDOUT once what was sent has
	// waited for most nanoseconds to be acknowledged, because the peer's machine
	// has vanished or takes nothing; 0: when the system thinks so, which is after
	// minutes. Without effect where the system cannot.
	Unheard(fd int, most int64)
	// Local is our own address of the connection fd, invalid if it has none.
	Local(fd int) netip.AddrPort
	// ConnectUDP opens a UDP socket for one peer. Read and Write on it move one
	// datagram each, an empty one included, and answer ECONNREFUSED when the peer's
	// machine has said that nobody is there.
	ConnectUDP(to netip.AddrPort) (fd int, err error)
	// ReceiveFrom takes one datagram off a socket of ListenUDP, ErrAgain if there is
	// none, and says who sent it and to which address of ours. The latter is
	// invalid where the socket has but one, or the system does not tell. What does
	// not fit into p is lost.
	ReceiveFrom(fd int, p []byte) (n int, from netip.AddrPort, to netip.Addr, err error)
	// SendTo sends one datagram from a socket of ListenUDP, and from that address
	// of ours if it is valid.
	SendTo(fd int, p []byte, to netip.AddrPort, from netip.Addr) error
	// Read is 0, nil at the end of the stream and ErrAgain when nothing is there.
	// An n below len(p) means that nothing was left: the next arrival is an event.
	Read(fd int, p []byte) (n int, err error)
	// Write is ErrAgain when the socket takes nothing. An n below len(p) means
	// that it is full now: the next room is an event.
	Write(fd int, p []byte) (n int, err error)
	// Write2 writes a and then b in one call.
	Write2(fd int, a, b []byte) (n int, err error)
	// SendAll does the writes of batch, which are for as many descriptors, and notes
	// what came of each. None waits for another.
	SendAll(batch []Send)
	// Together is how many writes there have to be for SendAll to cost less than as
	// many calls of Write; 0: it never does, and why.
	Together() (least int, why error)
	// Splice moves up to limit bytes between a socket and a pipe without copying
	// them. 0, nil is the end of the stream; ErrAgain: from is dry or to is full.
	Splice(from, to, limit int) (n int, err error)
	// Pipe opens a pipe for Splice, of 256 KiB where the system allows it. It
	// fails with ENOSYS where there is no splice(2).
	Pipe() (r, w int, err error)
	// KeepAlive has the kernel ask a peer that is silent whether it still lives:
	// after a minute, and a minute later a dead one is an error of the socket.
	// Systems other than Linux choose the times themselves.
	KeepAlive(fd int)
	// CloseWrite ends our direction of the stream (FIN).
	CloseWrite(fd int) error
	// Close releases fd.
	Close(fd int)
	// Reset releases fd and tells the peer that the stream broke (RST).
	Reset(fd int)
	// Add watches fd: a connection for every change in either direction, a
	// listener for as long as connections wait.
	Add(fd int, token uint64, listener bool) error
	// Remove stops watching fd.
	Remove(fd int)
	// Wait fills events and returns how many there are: at once if there are any,
	// else after timeout nanoseconds (0: do not wait, below 0: for ever), after
	// Wake, or for no reason at all.
	Wait(events []Event, timeout int64) (int, error)
	// Wake makes the present or the next Wait return. Any goroutine may call it.
	Wake()
	// Shut releases the poller itself, not what it watches.
	Shut()
}

// Event says that something changed on the descriptor added with Token.
type Event struct {
	Token uint64
	Ready Ready
}

// Ready is a set of things that may be done now. It is a hint: a call may still
// answer ErrAgain.
type Ready uint8

const (
	// Readable: there are bytes, an end of stream or a waiting connection.
	Readable Ready = 1 << iota
	// Writable: there is room, or a Connect has been decided.
	Writable
	// PeerClosed: the peer sends nothing more (FIN); bytes may still wait.
	PeerClosed
	// Failed: the socket has an error or is shut in both directions.
	Failed
)

// ErrAgain means: not now, wait for the event.
var ErrAgain = errors.New("would block")
