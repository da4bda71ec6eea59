package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// AccessLogConfig says where the access log goes and how it looks.
type AccessLogConfig struct {
	Path   string // a file, which is appended to, or "stdout"
	Format string // "json" (also if empty) or "combined", Apache's
}

// AccessLog writes one line per Exchange. It never makes a Loop wait: each Loop
// composes its lines into a chunk of its own and hands full chunks over; when
// the file does not keep up, chunks are dropped and their lines counted.
//
// Its methods may be called from any goroutine.
type AccessLog struct {
	path     string
	combined bool // Apache's format, else JSON
	log      *zap.Logger

	chunks  chan chunk
	spare   chan []byte  // written buffers, for reuse
	held    atomic.Int32 // chunks begun and neither received by write nor dropped
	dropped atomic.Int64 // lines
	wall    atomic.Int64 // the wall clock at Loop.Now 0, unix ns

	closing  sync.Once
	quit     chan struct{} // closed by Close
	written  chan struct{} // closed when write has ended
	reported chan struct{} // closed when report has ended

	next   chan io.WriteCloser   // what Reopen has opened, for write to use
	failed atomic.Pointer[error] // the newest error of write, until it is reported

	// Those below belong to write.
	file io.WriteCloser
	torn bool // the file ends inside a line
}

// chunk is some whole lines of one Loop.
type chunk struct {
	text  []byte
	lines int
}

const (
	chunkSize = 16 << 10 // a chunk that has grown beyond this is handed over
	chunkKept = 64 << 10 // a buffer that has grown beyond this is not reused
	chunkAge  = int64(200e6)

	// maxChunks bounds the memory of what waits to be written, to about 4 MiB: a
	// tenth of a second and more at full load.
	maxChunks = 256

	// closePatience is how long Close waits for lines that Loops still hold: they
	// hand them over within chunkAge.
	// It is as long again for a file that does not take what is written.
	closePatience = time.Second
)

// NewAccessLog opens an access log; SetAccessLog puts it into use, and Close ends
// it. Dropped lines and write errors are reported to log, once a minute.
func NewAccessLog(c AccessLogConfig, log *zap.Logger) (*AccessLog, error) {
	a := newAccessLog(c.Path, log)
	switch c.Format {
	case "", "json":
	case "combined":
		a.combined = true
	default:
		return nil, fmt.Errorf("access log format %q: want json or combined", c.Format)
	}
	file, err := a.open()
	if err != nil {
		return nil, err
	}
	a.start(file)
	return a, nil
}

func newAccessLog(path string, log *zap.Logger) *AccessLog {
	return &AccessLog{
		path:     path,
		log:      log,
		chunks:   make(chan chunk, maxChunks),
		spare:    make(chan []byte, maxChunks),
		next:     make(chan io.WriteCloser, 1),
		quit:     make(chan struct{}),
		written:  make(chan struct{}),
		reported: make(chan struct{}),
	}
}

func (a *AccessLog) start(file io.WriteCloser) {
	a.file = file
	a.setWall()
	go a.write()  // ends with Close, which waits for it unless the file blocks
	go a.report() // ends with Close, which waits for it
}

// stdout stays open: it is not only ours.
type stdout struct{ io.Writer }

func (stdout) Close() error { return nil }

func (a *AccessLog) open() (io.WriteCloser, error) {
	if a.path == "stdout" {
		return stdout{os.Stdout}, nil
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if i, err := os.Stat(a.path); err == nil && i.Mode()&os.ModeNamedPipe != 0 {
		flags = os.O_RDWR | syscall.O_NONBLOCK // who reads it may come later, leave and come again
	}
	f, err := os.OpenFile(a.path, flags, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// Reopen opens the file by its name again, for whoever rotates it has moved it
// away; soon after, no line goes to the old one. On error that stays in use.
func (a *AccessLog) Reopen() error {
	f, err := a.open()
	if err != nil {
		return err
	}
	for {
		select {
		case a.next <- f:
			return nil
		case unused := <-a.next: // of a Reopen before, while write is not getting on
			_ = unused.Close() // nothing was written to it
		}
	}
}

// Close writes what there is and closes the file. It comes after Proxy.Stop, or
// after SetAccessLog has put another log in its place: then it waits up to a
// second for the lines that the Loops still hold. It is an error if the file
// does not take them.
func (a *AccessLog) Close() (err error) {
	a.closing.Do(func() {
		close(a.quit)
		<-a.reported
		stuck := fmt.Errorf("access log: %s does not take what is written to it", a.path)
		select {
		case <-a.written:
			if a.held.Load() == 0 {
				stuck = nil
			}
			err = errors.Join(stuck, a.file.Close())
		case <-time.After(2 * closePatience):
			err = stuck
		}
	})
	return err
}

// Dropped is the number of lines that were lost because the file did not keep
// up or could not be written.
func (a *AccessLog) Dropped() int64 { return a.dropped.Load() }

// offer takes a chunk, or counts its lines as dropped. The buffer is the log's
// in the first case and stays the caller's in the second.
func (a *AccessLog) offer(c chunk) bool {
	select {
	case a.chunks <- c:
		return true
	default:
		a.held.Add(-1)
		a.dropped.Add(int64(c.lines))
		return false
	}
}

// buffer is an empty buffer for a chunk.
func (a *AccessLog) buffer() []byte {
	select {
	case b := <-a.spare:
		return b[:0]
	default:
		return make([]byte, 0, chunkSize+4<<10)
	}
}
