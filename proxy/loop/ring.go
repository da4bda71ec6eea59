//go:build linux

package loop

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring does many sends in one system call, by io_uring(7), of which it is all that
// is used. No send waits for anything, so each is done or refused by the end of
// the call, and nothing goes on behind it.
//
// What that saves is not the calls. At the end of each the kernel may turn to
// whom it has just woken, and with servers or clients on the same machine it does;
// that switch, and the caches that it costs, come once for a batch.
type ring struct {
	fd      int
	memory  [2][]byte // mapped
	sends   []ringSend
	results []ringResult

	// Positions in sends and results; the kernel moves sendHead and resultTail.
	sendHead, sendTail, resultHead, resultTail *uint32
}

// ringSend is struct io_uring_sqe, for IORING_OP_SEND.
type ringSend struct {
	op    uint8
	_     [3]byte
	fd    int32
	_     uint64
	data  uint64
	size  uint32
	flags uint32
	index uint64 // handed back with the result
	_     [3]uint64
}

// ringResult is struct io_uring_cqe.
type ringResult struct {
	index uint64
	value int32 // bytes, or minus an errno
	_     uint32
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sends, results uint32
	_              [3]uint32
	features       uint32
	_              [4]uint32
	sq             struct{ head, tail, mask, entries, flags, dropped, array, _, _, _ uint32 }
	cq             struct{ head, tail, mask, entries, overflow, results, flags, _, _, _ uint32 }
}

const (
	ringOpSend    = 26         // IORING_OP_SEND
	ringSingleMap = 1          // IORING_FEAT_SINGLE_MMAP
	ringGetEvents = 1          // IORING_ENTER_GETEVENTS
	ringSendsAt   = 0x10000000 // IORING_OFF_SQES
)

// newRing fails where the kernel has none, or keeps it from us: containers often
// may not use it.
func newRing() (*ring, error) {
	var p ringParams
	fd, _, errno := unix.RawSyscall(unix.SYS_IO_URING_SETUP, sendBatch, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &ring{fd: int(fd)}
	if err := r.open(&p); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// open maps the memory that is shared with the kernel, and tries it out.
func (r *ring) open(p *ringParams) error {
	if p.features&ringSingleMap == 0 || p.sends < sendBatch {
		return errors.New("io_uring: the kernel is too old")
	}
	size := max(int(p.sq.array+4*p.sends), int(p.cq.results)+int(p.results)*int(unsafe.Sizeof(ringResult{})))
	for i, m := range [...]struct{ at, size int }{{0, size}, {ringSendsAt, int(p.sends) * int(unsafe.Sizeof(ringSend{}))}} {
		var err error
		r.memory[i], err = unix.Mmap(r.fd, int64(m.at), m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			return fmt.Errorf("io_uring: map memory: %w", err)
		}
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.memory[0][offset])) }
	r.sendHead, r.sendTail = at(p.sq.head), at(p.sq.tail)
	r.resultHead, r.resultTail = at(p.cq.head), at(p.cq.tail)
	r.sends = unsafe.Slice((*ringSend)(unsafe.Pointer(&r.memory[1][0])), p.sends)
	r.results = unsafe.Slice((*ringResult)(unsafe.Pointer(&r.memory[0][p.cq.results])), p.results)
	for i := range p.sends {
		*at(p.sq.array + 4*i) = i // the order is that of sends
	}
	// A kernel that knows this kind of send finds that there is no such socket.
	try := [1]Send{{FD: -1, Data: []byte{0}}}
	if _, err := r.send(try[:]); err != nil {
		return err
	}
	if try[0].Err != unix.EBADF {
		return fmt.Errorf("io_uring: send: %w", try[0].Err)
	}
	return nil
}

func (r *ring) close() {
	for _, m := range r.memory {
		if m != nil {
			unix.Munmap(m)
		}
	}
	unix.Close(r.fd)
}

// send does the writes of batch, at most sendBatch, from the first on. It returns
// how many it has done, and why not the others.
func (r *ring) send(batch []Send) (done int, err error) {
	tail := *r.sendTail
	for i := range batch {
		s := &batch[i]
		s.N, s.Err = 0, unix.EIO // unless its result says otherwise
		r.sends[tail&uint32(len(r.sends)-1)] = ringSend{
			op: ringOpSend, fd: int32(s.FD), index: uint64(i),
			data: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s.Data)))), size: uint32(len(s.Data)),
			flags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL,
		}
		tail++
	}
	atomic.StoreUint32(r.sendTail, tail)
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(len(batch)), 0, 0, 0, 0)
	switch {
	case errno != 0:
		n, err = 0, fmt.Errorf("io_uring_enter: %w", errno)
	case n == 0:
		err = errors.New("io_uring_enter: nothing was taken")
	}
	if int(n) < len(batch) { // the kernel has not seen the others
		atomic.StoreUint32(r.sendTail, atomic.LoadUint32(r.sendHead))
	}
	for left := int(n); left > 0; {
		k := r.collect(batch)
		if left -= k; k > 0 {
			continue
		}
		// Not what io_uring does with such sends; but then it has to be waited for.
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, uintptr(left), ringGetEvents, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return int(n), fmt.Errorf("io_uring_enter: %w", errno)
		}
	}
	return int(n), err
}

// collect notes the results that there are.
func (r *ring) collect(batch []Send) (n int) {
	head, tail := *r.resultHead, atomic.LoadUint32(r.resultTail)
	for ; head != tail; head++ {
		c := &r.results[head&uint32(len(r.results)-1)]
		s := &batch[c.index]
		if c.value < 0 {
			s.N, s.Err = 0, fault(syscall.Errno(-c.value))
		} else {
			s.N, s.Err = int(c.value), nil
		}
		n++
	}
	atomic.StoreUint32(r.resultHead, head)
	return n
}

// passes says whether err, of a send that has done nothing, is a lack that the
// next one may not meet with.
func passes(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	return no == unix.EAGAIN || no == unix.EBUSY || no == unix.EINTR || no == unix.ENOMEM
}
