package proxy

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/health"
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
	path   string
	append func([]byte, *line) []byte
	log    *zap.Logger

	chunks  chan chunk
	spare   chan []byte  // written buffers, for reuse
	held    atomic.Int32 // chunks begun and neither received by write nor dropped
	dropped atomic.Int64 // lines
	wall    atomic.Int64 // the wall clock at Loop.Now 0, unix ns

	closing  sync.Once
	quit     chan struct{} // closed by Close
	written  chan struct{} // closed when write has ended
	reported chan struct{} // closed when report has ended

	mu     sync.Mutex // guards what follows
	file   *os.File
	torn   bool  // the file ends inside a line
	failed error // of the newest write that did
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
	a := &AccessLog{
		path:     c.Path,
		log:      log,
		chunks:   make(chan chunk, maxChunks),
		spare:    make(chan []byte, maxChunks),
		quit:     make(chan struct{}),
		written:  make(chan struct{}),
		reported: make(chan struct{}),
	}
	switch c.Format {
	case "", "json":
		a.append = appendJSON
	case "combined":
		a.append = appendCombined
	default:
		return nil, fmt.Errorf("access log format %q: want json or combined", c.Format)
	}
	f, err := a.open()
	if err != nil {
		return nil, err
	}
	a.file = f
	a.setWall()
	go a.write()  // ends with Close, which waits for it unless the file blocks
	go a.report() // ends with Close, which waits for it
	return a, nil
}

func (a *AccessLog) open() (*os.File, error) {
	if a.path == "stdout" {
		return os.Stdout, nil
	}
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// Reopen opens the file by its name again, for whoever rotates it has moved it
// away. On error the old file stays in use.
func (a *AccessLog) Reopen() error {
	f, err := a.open()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.file
	a.file, a.torn = f, false
	return a.closeFile(old)
}

func (a *AccessLog) closeFile(f *os.File) error {
	if f == os.Stdout {
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	return nil
}

// Close writes what there is and closes the file. It comes after Proxy.Stop, or
// after SetAccessLog has put another log in its place: then it waits up to a
// second for the lines that the Loops still hold. It is an error if the file
// does not take them.
func (a *AccessLog) Close() (err error) {
	a.closing.Do(func() {
		close(a.quit)
		<-a.reported
		select {
		case <-a.written:
			err = a.closeFile(a.file)
		case <-time.After(2 * closePatience):
			err = fmt.Errorf("access log: %s does not take what is written to it", a.path)
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

// write moves chunks to the file until Close.
func (a *AccessLog) write() {
	defer close(a.written)
	for {
		select {
		case c := <-a.chunks:
			a.put(c)
		case <-a.quit:
			a.drain()
			return
		}
	}
}

// drain writes what is left, waiting for what Loops hold.
func (a *AccessLog) drain() {
	patience := time.After(closePatience)
	for a.held.Load() > 0 {
		select {
		case c := <-a.chunks:
			a.put(c)
		case <-patience:
			return
		}
	}
}

func (a *AccessLog) put(c chunk) {
	a.held.Add(-1)
	a.setWall()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.torn {
		a.torn = false
		_, _ = a.file.Write([]byte{'\n'}) // if this does not work, neither does the next
	}
	if n, err := a.file.Write(c.text); err != nil {
		a.torn = n > 0
		a.failed = err
		a.dropped.Add(int64(c.lines))
	}
	if cap(c.text) > chunkKept {
		return
	}
	select {
	case a.spare <- c.text:
	default:
	}
}

// setWall follows steps of the wall clock, which the Loops' clock does not make.
func (a *AccessLog) setWall() { a.wall.Store(time.Now().UnixNano() - health.Now()) }

// reportEvery is how often dropped lines are logged.
const reportEvery = time.Minute

func (a *AccessLog) report() {
	defer close(a.reported)
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	said := int64(0)
	for {
		select {
		case <-tick.C:
		case <-a.quit:
			return
		}
		if n := a.Dropped(); n > said {
			a.log.Warn("access log lines dropped", zap.String("path", a.path), zap.Int64("lines", n-said), zap.Error(a.lastError()))
			said = n
		}
	}
}

// lastError is the error of the newest write that had one since the last call. It
// does not wait for a write that hangs, which is a reason to report too.
func (a *AccessLog) lastError() error {
	if !a.mu.TryLock() {
		return nil
	}
	defer a.mu.Unlock()
	err := a.failed
	a.failed = nil
	return err
}
