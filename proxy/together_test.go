package proxy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestProxy_SaysOnceThatSendsDoNotGoTogether(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	p, err := New(Config{Loops: 2, NoRing: true, Log: zap.New(core)})
	require.NoError(t, err)
	defer p.Stop()
	require.Equal(t, 1, seen.FilterMessage("every send is a system call of its own").Len())
}

// Two requests in one round, and their answers: both sides go together, each
// with what is its own.
func TestExchange_SendsTogetherWhatIsOfDifferentConnections(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.Collect = true
	backends := b.serve(1)
	b.use(1)
	one := b.client("GET /one HTTP/1.1\r\nHost: x.test\r\n\r\n")
	two := b.client("GET /two HTTP/1.1\r\nHost: x.test\r\n\r\n")
	request := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: x.test\r\n" + b.forwarding() + "\r\n"
	}
	b.run(func() bool { return len(backends()) == 2 && backends()[0].got != "" && backends()[1].got != "" })
	require.ElementsMatch(t, []string{request("/one"), request("/two")}, []string{backends()[0].got, backends()[1].got})
	for _, back := range backends() {
		back.Write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + back.got[4:8])
	}
	b.run(func() bool { return one.got != "" && two.got != "" })
	require.Equal(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/one", one.got)
	require.Equal(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/two", two.got)
	one.Close()
	two.Close()
	for _, back := range backends() {
		b.run(back.Ended) // idle for too long
		back.Close()
	}
	require.Empty(t, b.settle())
}

// A client that takes nothing of a collected answer is cut as any other.
func TestExchange_CollectedAnswerThatNobodyTakesIsCut(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.Collect, b.Window, b.MaxWrite = true, 10, 10
	backends := b.serve(1)
	b.use(1)
	c := &simScript{}
	c.simPeer = b.dial(func(*simPeer) {}) // reads nothing
	c.Write("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
	b.run(func() bool { return len(backends()) == 1 && len(backends()[0].got) > 0 })
	start := b.Now()
	backends()[0].Write("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n01234567890123456789012345678901234567890123456789")
	b.run(func() bool { return c.Broken() != nil || c.simPeer.Ended() })
	require.GreaterOrEqual(t, b.Now()-start, int64(b.opts.WriteTimeout))
}

// An idle connection has nothing to go on with.
func TestUpstream_SentWithoutAnExchange(t *testing.T) {
	require.NotPanics(t, func() { (&upstream{}).Sent(1, nil) })
}
