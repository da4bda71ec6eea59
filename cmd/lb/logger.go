package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// newLogger logs to stderr, where nothing is buffered: stdout is the access
// log's. Format is console, json or auto.
func newLogger(format string, level zapcore.LevelEnabler) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.TimeKey = "time"
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder
	if format == "console" || format != "json" && isTerminal(os.Stderr) {
		c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		c.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder
	}
	return zap.New(zapcore.NewCore(encoder(c), &logFile{fd: syscall.Stderr}, level))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// logFile is where the log goes. It waits for logPatience at most: event loops
// log too, and a pipe that nobody reads must not stop the program. What is lost
// is counted, and said once there is room again.
type logFile struct {
	mu   sync.Mutex
	fd   int
	lost int  // lines
	torn bool // it ends inside a line
}

const (
	// logPatience is short because of the Loops, and long for somebody who reads.
	logPatience = 100 // ms

	// logPiece is what a pipe that has room takes without blocking.
	logPiece = 4096
)

// Write implements zapcore.WriteSyncer: p is a line. It never fails, as there is
// nobody to tell.
func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	patience := logPatience
	if f.lost > 0 {
		patience = 0 // once is enough
		if f.ready(0) {
			f.put(fmt.Appendf(nil, "%d lines of the log were lost here: nobody read them\n", f.lost), 0)
		}
	}
	if f.put(p, patience) {
		f.lost = 0
	} else {
		f.lost++
	}
	return len(p), nil
}

// put writes all of a line, or false.
func (f *logFile) put(p []byte, patience int) bool {
	if f.torn {
		p = append([]byte{'\n'}, p...)
	}
	for len(p) > 0 {
		if !f.ready(patience) {
			return false
		}
		n, err := unix.Write(f.fd, p[:min(len(p), logPiece)])
		if err != nil && err != unix.EINTR {
			return false
		}
		p = p[max(n, 0):]
		f.torn = len(p) > 0
	}
	return true
}

// ready says whether there is room for a piece, which it waits for.
func (f *logFile) ready(ms int) bool {
	at := []unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(at, ms)
		if err != unix.EINTR {
			return n > 0 && err == nil && at[0].Revents&unix.POLLOUT != 0
		}
	}
}

// Sync implements zapcore.WriteSyncer.
func (f *logFile) Sync() error { return nil }
