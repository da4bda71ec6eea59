package proxy

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/proxy/loop"
)

// What simulation has found, each by its symptom.

const simGet = "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"

// tunnelBed is an engine with a tunnel through it.
func tunnelBed(t *testing.T, say string, change func(*simBed, *simScript)) (*simBed, *simScript, *simScript) {
	b := newSimBed(t, 1, 1)
	back := &simScript{}
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		back.simPeer = b.accept(p, back.take)
		back.Write(accepted + say)
		change(b, back)
	})
	b.use(1)
	c := b.client(handshake)
	b.run(func() bool { return strings.HasSuffix(c.got, "\r\n\r\n"+say) })
	return b, c, back
}

func TestTunnel_BytesAndEndBehindThe101AreCarried(t *testing.T) {
	b, c, back := tunnelBed(t, "hello", func(_ *simBed, back *simScript) { back.CloseWrite() })
	b.run(c.Ended)
	back.got = ""
	c.Write("last words")
	c.Close() // both sides are shut now, which the engine sees together with the words
	b.run(back.Ended)
	require.Equal(t, "last words", back.got)
	back.Close()
	require.Empty(t, b.settle())
}

func TestTunnel_WaitingBytesOutliveBothEnds(t *testing.T) {
	b, c, back := tunnelBed(t, "", func(b *simBed, back *simScript) {
		b.Window = 1000
		back.Handle = nil // reads nothing
	})
	back.Read() // the handshake
	c.Write(strings.Repeat("x", 3000))
	c.CloseWrite()
	x := b.cores[0].clients[0].x
	b.run(func() bool { return !x.up.out.empty() })
	back.CloseWrite()
	b.run(func() bool { return x.downShut })
	back.Handle = func(*loop.SimPeer) { back.got += back.Read() }
	back.got = back.Read()
	b.run(back.Ended)
	require.Len(t, back.got, 3000)
	back.Close()
	require.NoError(t, c.Broken())
	c.Close()
	require.Empty(t, b.settle())
}

func TestTunnel_IsCountedOutHoweverItEnds(t *testing.T) {
	f := func(end func(c, back *simScript)) {
		t.Helper()
		b, c, back := tunnelBed(t, "hello", func(*simBed, *simScript) {})
		require.EqualValues(t, 1, b.cores[0].stats.tunnels)
		end(c, back)
		b.run(func() bool { return len(b.cores[0].clients) == 0 })
		back.Close()
		c.Close()
		require.Empty(t, b.settle())
	}
	f(func(c, _ *simScript) { c.Reset() })
	f(func(_, back *simScript) { back.Reset() })
	f(func(c, _ *simScript) { c.Close() })
	f(func(_, back *simScript) { back.Close() })
	f(func(c, back *simScript) {}) // the idle timeout
}

func TestMaxBody_WhatIsTooLargeIsNotTheNextRequest(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.opts.MaxBody = 10
	backends := b.serve(1)
	b.use(1)
	c := b.client(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(simGet), simGet))
	b.run(c.Ended)
	require.True(t, strings.HasPrefix(c.got, "HTTP/1.1 413 "), c.got)
	require.Equal(t, 1, strings.Count(c.got, "HTTP/1.1 "), c.got)
	require.Empty(t, backends())
	c.Close()
	require.Empty(t, b.settle())
}

func TestLinger_TheClientsEndResetsNoAnswer(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		p.Handle = func(p *loop.SimPeer) { p.Read() }
		p.Write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nearl")
	})
	b.use(1)
	c := b.client("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
	b.run(func() bool { return strings.HasSuffix(c.got, "earl") })
	c.Write("56789")
	c.CloseWrite()
	b.run(func() bool { return len(b.cores[0].clients) == 0 })
	require.NoError(t, c.Broken())
	c.Close()
	b.settle()
}

func TestReuse_NotOfAConnectionWithBytesLeftOver(t *testing.T) {
	f := func(size int) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.Window = 1 << 20
		conns := 0
		b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
			conns++
			name := fmt.Sprint("right", conns)
			p.Handle = func(p *loop.SimPeer) {
				if p.Read() != "" {
					head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
					p.Write(head + name + strings.Repeat("x", size-len(name)) + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
				}
			}
		})
		b.use(1)
		for i := range 2 {
			c := b.client(simGet)
			b.run(func() bool { return c.Ended() || strings.Count(c.got, "x") >= size-6 })
			require.Contains(t, c.got, fmt.Sprint("right", i+1))
			require.NotContains(t, c.got, "wrong")
			c.Close()
		}
		b.settle()
	}
	f(100)
	head := len("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
	f(loop.ScratchSize - head) // one read takes exactly the response
	f(2*loop.ScratchSize - head - 1)
	f(300 << 10) // spliced
}

// brokenUpload has a client send the first half of a body and then the rest in
// the very round in which the connection to backend 1 breaks.
func brokenUpload(b *simBed, first, rest string) *simScript {
	b.Latency = 1000
	var back *loop.SimPeer
	heads := 0
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		if back == nil {
			back = p
		}
		p.Handle = func(p *loop.SimPeer) {
			in := p.Read()
			if heads++; p != back && strings.HasPrefix(in, "GET") {
				p.Write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
			}
		}
	})
	c := b.client(first)
	b.run(func() bool { return heads > 0 })
	c.Write(rest)
	b.After(1000, back.Reset)
	return c
}

func TestRetry_InTheQueueKeepsTheBody(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.service.MaxConnections = 1
	second := b.serve(2)
	b.use(2, 1)
	hold := b.client(simGet) // takes backend 2
	b.run(func() bool { return len(second()) == 1 && second()[0].got != "" })
	c := brokenUpload(b, "PUT / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "3\r\ntwo\r\n5;e=1\r\nthree\r\n0\r\nA: b\r\n\r\n")
	b.run(func() bool { return len(b.cores[0].queues) == 1 })
	back := second()[0]
	back.got = ""
	back.Write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld")
	b.run(func() bool { return strings.HasSuffix(hold.got, "held") && strings.Contains(back.got, "three") })
	require.Equal(b.t, "PUT / HTTP/1.1\r\nHost: x.test\r\n"+forwarding+"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\nA: b\r\n\r\n", back.got)
	back.Write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nput")
	b.run(func() bool { return strings.HasSuffix(c.got, "put") })
	hold.Close()
	c.Close()
	back.CloseWrite()
	b.settle()
}

func TestPipelined_RequestOutlivesTheFailureOfTheOneBefore(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.opts.Retries = 0
	b.use(1)
	c := brokenUpload(b, "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 6\r\n\r\nabc", "def"+simGet)
	b.run(func() bool { return c.Ended() || strings.HasSuffix(c.got, "new") })
	require.True(t, strings.HasPrefix(c.got, "HTTP/1.1 502 "), c.got)
	require.True(t, strings.HasSuffix(c.got, "\r\n\r\nnew"), c.got)
	c.Close()
	b.settle()
}

func TestUpload_TheEarlyAnswerOutlivesTheConnection(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		b := newSimBed(t, 1, 1)
		b.use(1)
		b.Latency = 1000
		var back *loop.SimPeer
		heard := false
		b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
			back = p
			p.Handle = func(p *loop.SimPeer) { heard = p.Read() != "" || heard }
		})
		c := b.client("POST / HTTP/1.1\r\nHost: x.test\r\nContent-Length: 1000\r\n\r\nabc")
		b.run(func() bool { return heard })
		c.Write("def")
		back.Write(answer)
		b.After(1000, back.Reset)
		b.run(func() bool { return c.Ended() || c.Broken() != nil })
		require.True(t, strings.HasPrefix(c.got, want), c.got)
		c.Close()
		b.settle()
	}
	f("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
	f("HTTP/1.1 413 Content", "HTTP/1.1 502 ")
	f("", "HTTP/1.1 502 ")
}

func TestStalledClient_CannotTakeACutAnswerForWhole(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.Window = 1000
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		p.Handle = func(p *loop.SimPeer) { p.Read() }
		p.Write("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 5000))
	})
	b.use(1)
	c := b.Dial(simFront)
	c.Write("GET / HTTP/1.0\r\n\r\n")
	start := b.Now()
	b.run(func() bool { return b.accepted() == 1 && len(b.cores[0].clients) == 0 })
	require.GreaterOrEqual(t, b.Now()-start, int64(b.opts.WriteTimeout))
	require.Equal(t, syscall.ECONNRESET, c.Broken(), "the end of the connection is the end of the body")
	require.Equal(t, "up", b.registry.All()[0].State(b.Now()), "it was not the backend")
	b.settle()
}

// accepted is how many connections were.
func (b *simBed) accepted() (n int) {
	for _, k := range b.cores {
		n += int(k.stats.accepted)
	}
	return n
}

func TestStalledClient_LeavesTheBackendItsTimeOnceItReadsAgain(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.Window = 1000
	var back *loop.SimPeer
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		back = p
		p.Handle = func(p *loop.SimPeer) { p.Read() }
		p.Write("HTTP/1.1 200 OK\r\nContent-Length: 5003\r\n\r\n" + strings.Repeat("x", 5000))
	})
	b.use(1)
	c := b.Dial(simFront)
	c.Write(simGet)
	b.step(func() bool {
		return len(b.cores[0].clients) == 1 && b.cores[0].clients[0].phase == phaseExchange && !b.cores[0].clients[0].out.empty()
	})
	s := &simScript{simPeer: &simPeer{SimPeer: c}}
	c.Handle = func(*loop.SimPeer) { s.got += s.Read() }
	s.got = c.Read()
	b.After(int64(b.opts.WriteTimeout+b.opts.ResponseBodyTimeout)/2, func() { back.Write("end") })
	b.run(func() bool { return s.Ended() || strings.HasSuffix(s.got, "end") })
	require.True(t, strings.HasSuffix(s.got, "xend"), "%d bytes", len(s.got))
	c.Close()
	b.settle()
}

func TestQueue_NobodyOvertakesThoseWhoWait(t *testing.T) {
	b := newSimBed(t, 1, 1)
	b.service.MaxConnections = 1
	var clients []*simScript
	for range 10 {
		clients = append(clients, b.client(""))
	}
	sent := 0
	send := func() {
		clients[sent].Write(strings.Replace(simGet, "/ ", fmt.Sprintf("/%d ", sent), 1))
		sent++
	}
	var order []string
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		p.Handle = func(p *loop.SimPeer) {
			if in := p.Read(); in != "" {
				order = append(order, in[5:strings.Index(in, " HTTP")])
				b.After(1e6, func() {
					p.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					if sent < len(clients) {
						send() // comes in the round in which the place comes free
					}
				})
			}
		}
	})
	b.use(1)
	b.run(func() bool { return len(b.cores[0].clients) == len(clients) })
	for range 3 { // one is served, two wait
		send()
	}
	b.run(func() bool { return len(order) == len(clients) })
	require.Equal(t, "0 1 2 3 4 5 6 7 8 9", strings.Join(order, " "))
}

func TestSplice_APipeWithARemainderServesNobodyElse(t *testing.T) {
	b := newSimBed(t, 1, 1)
	served := 0
	b.Sim.Serve(simBack(1), func(p *loop.SimPeer) {
		served++
		body := strings.Repeat(fmt.Sprint(served), 2*spliceMin)
		p.Handle = func(p *loop.SimPeer) {
			if p.Read() != "" {
				p.Write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			}
		}
	})
	b.use(1)
	c := b.Dial(simFront) // reads nothing
	c.Write(simGet)
	b.run(func() bool {
		return len(b.cores[0].clients) > 0 && b.cores[0].clients[0].x != nil && b.cores[0].clients[0].x.splice.holds()
	})
	c.Reset()
	next := b.client(simGet)
	b.run(func() bool { return strings.HasSuffix(next.got, strings.Repeat("2", 2*spliceMin)) })
	require.NotContains(t, next.got[strings.Index(next.got, "\r\n\r\n"):], "1")
	next.Close()
	require.Empty(t, b.settle())
}
