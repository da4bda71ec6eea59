package proxy

import (
	"os"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/health"
)

// write moves chunks to the file until Close.
func (a *AccessLog) write() {
	defer close(a.written)
	for {
		select {
		case c := <-a.chunks:
			a.put(c)
		case f := <-a.next:
			a.check(a.file.Close())
			a.file, a.torn = f, false
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
	if err := a.writeLines(c.text); err != nil {
		a.dropped.Add(int64(c.lines))
		a.check(err)
	}
	if cap(c.text) > chunkKept {
		return
	}
	select {
	case a.spare <- c.text:
	default:
	}
}

// writePatience is how long a pipe may take to take a chunk.
const writePatience = time.Second

// writeLines begins a new line where a write before it broke off.
func (a *AccessLog) writeLines(text []byte) error {
	if f, ok := a.file.(*os.File); ok {
		_ = f.SetWriteDeadline(time.Now().Add(writePatience)) // other files have none
	}
	if a.torn {
		if _, err := a.file.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	n, err := a.file.Write(text)
	a.torn = n > 0 && err != nil
	return err
}

// check keeps an error for report.
func (a *AccessLog) check(err error) {
	if err != nil {
		a.failed.Store(&err)
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
			facts := []zap.Field{zap.String("path", a.path), zap.Int64("lines", n-said)}
			if err := a.failed.Swap(nil); err != nil {
				facts = append(facts, zap.Error(*err))
			}
			a.log.Warn("access log lines dropped", facts...)
			said = n
		}
	}
}
