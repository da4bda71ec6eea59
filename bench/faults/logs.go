//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// logFaults are harm to where the logs go.
var logFaults = []experiment{
	{"access log stuck", "the access log is a pipe that nobody reads", "nothing fails; lost lines are counted", accessStuck},
	{"access log gone", "a reload wants a named pipe without a reader for the access log", "nothing fails; reloads and SIGTERM work", accessGone},
	{"disk full", "every write to the access log fails (/dev/full)", "nothing fails; lost lines are counted", diskFull},
	{"log stuck", "nobody reads stderr, at debug level", "nothing fails; reloads and SIGTERM work", logStuck},
	{"log stuck, files", "likewise, while descriptors run out", "who was there loses nothing", logStuckFiles},
	{"log reader gone", "who reads stderr and the access log at stdout has ended", "nothing fails", readerGone},
}

func accessStuck(b *bed) (string, bool) {
	check(syscall.Mkfifo(b.path("pipe"), 0o600))
	reader, err := os.OpenFile(b.path("pipe"), os.O_RDWR, 0) // so that opening it for writing succeeds
	check(err)
	defer reader.Close()
	b.start(setting{service: healthy, top: "access_log: {path: " + b.path("pipe") + "}"})
	l := b.startLoad("get", "post", "https", "tcp", "sni")
	time.Sleep(15 * time.Second)
	ts := l.end()
	dropped := b.metric("lb_access_log_dropped_lines_total")
	b.lb.signal(syscall.SIGTERM)
	began := time.Now()
	<-b.lb.ended
	return fmt.Sprintf("%s; %.0f lines lost; SIGTERM took %d ms", summary(ts), dropped, time.Since(began).Milliseconds()), lost(ts) == 0
}

func accessGone(b *bed) (string, bool) {
	check(syscall.Mkfifo(b.path("pipe"), 0o600))
	s := setting{service: healthy}
	b.start(s)
	l := b.startLoad("get", "post", "https", "tcp", "sni")
	time.Sleep(usual)
	s.top = "access_log: {path: " + b.path("pipe") + "}"
	b.configure(s)
	b.lb.signal(syscall.SIGHUP)
	time.Sleep(usual)
	answered := b.lb.says(`"reloaded"`)+b.lb.says("rejected") > 0
	ts := l.end()
	b.lb.signal(syscall.SIGTERM)
	ended := false
	select {
	case <-b.lb.ended:
		ended = true
	case <-time.After(5 * time.Second):
	}
	return fmt.Sprintf("%s; the reload was answered: %t; SIGTERM ended it: %t", summary(ts), answered, ended), lost(ts) == 0 && answered && ended
}

func diskFull(b *bed) (string, bool) {
	b.start(setting{service: healthy, top: "access_log: {path: /dev/full}"})
	l := b.startLoad()
	time.Sleep(2 * usual)
	ts := l.end()
	dropped := b.metric("lb_access_log_dropped_lines_total")
	return fmt.Sprintf("%s; %.0f lines lost", summary(ts), dropped), lost(ts) == 0 && dropped > 0
}

func (b *bed) stuck() *os.File {
	r, w, err := os.Pipe()
	check(err)
	fd := int(w.Fd())
	check(syscall.SetNonblock(fd, true))
	for err == nil {
		_, err = syscall.Write(fd, make([]byte, 4096))
	}
	check(syscall.SetNonblock(fd, false))
	b.later(func() { r.Close(); w.Close() })
	return w
}

func logStuck(b *bed) (string, bool) {
	s := setting{service: healthy}
	b.configure(s)
	cmd := exec.Command(b.binary, "-config", b.path("lb.yml"), "-log-format", "json", "-log-level", "debug")
	cmd.Stderr = b.stuck()
	b.launch(cmd)
	l := b.startLoad("get", "post", "https", "tcp", "sni")
	time.Sleep(usual)
	s.rules = fmt.Sprintf("- {source_port: %d, address: 127.0.0.1, path: /other, service: web}\n", httpPort)
	b.configure(s)
	b.lb.signal(syscall.SIGHUP)
	await("reload", func() bool { return b.metric(`lb_reloads_total{result="success"}`) == 2 })
	b.servers[1].kill()
	await("ejection", func() bool { return b.up() == 2 })
	ts := l.end()
	b.lb.signal(syscall.SIGTERM)
	began := time.Now()
	<-b.lb.ended
	return fmt.Sprintf("%s; SIGTERM took %d ms", summary(ts), time.Since(began).Milliseconds()), lost(ts, "get", "https", "udp") == 0
}

func logStuckFiles(b *bed) (string, bool) {
	b.startWithFiles(128, setting{service: healthy, defaults: "max_connections: 1000"}, b.stuck())
	l := b.startLoad("get")
	time.Sleep(usual)
	got := b.crowd(200, "/?say=hi")
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%s; the crowd: %v", summary(ts), got), lost(ts) == 0
}

func readerGone(b *bed) (string, bool) {
	s := setting{service: healthy, top: "access_log: {path: stdout}"}
	b.configure(s)
	cmd := exec.Command(b.binary, "-config", b.path("lb.yml"), "-log-format", "json")
	r, w, err := os.Pipe()
	check(err)
	cmd.Stdout, cmd.Stderr = w, w
	b.launch(cmd)
	w.Close()
	l := b.startLoad()
	time.Sleep(usual)
	r.Close()
	s.rules = fmt.Sprintf("- {source_port: %d, address: 127.0.0.1, path: /other, service: web}\n", httpPort)
	b.configure(s)
	b.lb.signal(syscall.SIGHUP)
	await("reload", func() bool { return b.metric(`lb_reloads_total{result="success"}`) == 2 })
	time.Sleep(usual)
	ts := l.end()
	return fmt.Sprintf("%s; %.0f lines of the access log lost", summary(ts), b.metric("lb_access_log_dropped_lines_total")), lost(ts) == 0
}
