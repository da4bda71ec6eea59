package discovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// blog is a container with one label.
func blog(address string) fakeContainer {
	return fakeContainer{
		labels:   map[string]string{"lb.hostname": "arzur.net", "lb.service": "blog"},
		networks: map[string]string{"web": address}, ports: map[string][][2]string{"80/tcp": nil},
	}
}

func openDocker(e *fakeEngine) Source { return &Docker{DockerConfig: e.config()} }

// docker runs body beside a Docker whose Engine has the containers that set makes.
func docker(t *testing.T, set func(e *fakeEngine), body func(e *fakeEngine, latest func() string)) {
	t.Helper()
	watched(t, func(e *fakeEngine) Source { set(e); return openDocker(e) }, func(e *fakeEngine, latest func() string) {
		pass(100 * time.Millisecond)
		body(e, latest)
	})
}

func twoBlogs(e *fakeEngine) {
	e.set("blog-1", blog("10.0.0.1"))
	e.set("blog-2", blog("10.0.0.2"))
}

const (
	bothBlogs = "blog: 10.0.0.1:80 10.0.0.2:80\n80 arzur.net -> blog"
	oneBlog   = "blog: 10.0.0.2:80\n80 arzur.net -> blog"
)

func TestDocker_KeepsTheContract(t *testing.T) {
	testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
		e := newFakeEngine(t)
		show := func(version string) {
			c := blog("10.0.0." + version)
			e.set("blog", c)
			e.event("container", "start", idOf("blog"))
		}
		show("1")
		return openDocker(e), show, func(s Snapshot) string {
			return strings.TrimPrefix(s.Services[0].Instances[0].Host, "10.0.0.")
		}
	})
}

func TestDocker_StoppingContainersLeaveAtOnce(t *testing.T) {
	f := func(signal, stopSignal, want string) {
		t.Helper()
		docker(t, func(e *fakeEngine) {
			twoBlogs(e)
			e.turn("blog-1", func(c *fakeContainer) { c.stopSignal = stopSignal })
		}, func(e *fakeEngine, latest func() string) {
			require.Equal(t, bothBlogs, latest())
			e.event("container", "kill", idOf("blog-1"), "signal", signal)
			if want == oneBlog && stopSignal == "" {
				require.Equal(t, want, latest(), "without waiting for anything")
			}
			pass(time.Second)
			require.Equal(t, want, latest(), "signal %s", signal)
		})
	}
	f("15", "", oneBlog)
	f("9", "", oneBlog)
	f("2", "", oneBlog)
	f("SIGTERM", "", oneBlog)
	f("1", "", bothBlogs)
	f("10", "", bothBlogs)
	f("3", "", bothBlogs)
	f("3", "SIGQUIT", oneBlog)
	f("28", "WINCH", oneBlog)
	f("1", "SIGQUIT", bothBlogs)
}

func TestDocker_ContainersThatDoNotStopComeBack(t *testing.T) {
	f := func(stopTime int, out time.Duration) {
		t.Helper()
		docker(t, func(e *fakeEngine) {
			twoBlogs(e)
			e.turn("blog-1", func(c *fakeContainer) { c.stopTime = stopTime })
		}, func(e *fakeEngine, latest func() string) {
			e.event("container", "kill", idOf("blog-1"), "signal", "15")
			pass(out - time.Second)
			require.Equal(t, oneBlog, latest())
			pass(2 * time.Second)
			require.Equal(t, bothBlogs, latest())
		})
	}
	f(0, 12*time.Second)
	f(5, 12*time.Second)
	f(60, 62*time.Second)
}

func TestDocker_FollowsEvents(t *testing.T) {
	docker(t, twoBlogs, func(e *fakeEngine, latest func() string) {
		f := func(kind, action, want string, change func(c *fakeContainer)) {
			t.Helper()
			e.turn("blog-1", change)
			if kind == "network" {
				e.event(kind, action, "id-web", "container", idOf("blog-1"))
			} else {
				e.event(kind, action, idOf("blog-1"))
			}
			pass(time.Second)
			require.Equal(t, want, latest(), action)
		}
		f("container", "pause", oneBlog, func(c *fakeContainer) { c.state = "paused" })
		f("container", "unpause", bothBlogs, func(c *fakeContainer) { c.state = "" })
		f("container", "health_status: starting", oneBlog, func(c *fakeContainer) { c.health = "starting" })
		f("container", "health_status: healthy", bothBlogs, func(c *fakeContainer) { c.health = "healthy" })
		f("container", "health_status: unhealthy", oneBlog, func(c *fakeContainer) { c.health = "unhealthy" })
		f("container", "health_status: healthy", bothBlogs, func(c *fakeContainer) { c.health = "healthy" })
		f("network", "disconnect", oneBlog+"\n!container blog-1: service \"blog\": it has no address: it is in no network",
			func(c *fakeContainer) { c.networks = nil })
		f("network", "connect", bothBlogs, func(c *fakeContainer) { c.networks = map[string]string{"web": "10.0.0.1"} })
		f("container", "die", oneBlog, func(c *fakeContainer) { c.state = "exited" })
		f("container", "start", bothBlogs, func(c *fakeContainer) { c.state = "" })
		f("container", "destroy", oneBlog, func(c *fakeContainer) {})
	})
}

func TestDocker_RuleStaysWhileNobodyServes(t *testing.T) {
	docker(t, func(e *fakeEngine) { e.set("blog", blog("10.0.0.1")) }, func(e *fakeEngine, latest func() string) {
		e.turn("blog", func(c *fakeContainer) { c.health = "unhealthy" })
		e.event("container", "health_status: unhealthy", idOf("blog"))
		pass(time.Second)
		require.Equal(t, "blog: \n80 arzur.net -> blog", latest())
		e.event("container", "die", idOf("blog"))
		require.Equal(t, "blog: \n80 arzur.net -> blog", latest(), "another may take its place")
		pass(leavingFor - time.Second)
		require.Equal(t, "blog: \n80 arzur.net -> blog", latest())
		pass(2 * time.Second)
		require.Empty(t, latest(), "one that does not run has no rule")
	})
}

// One that the Engine starts again and again keeps its rules: requests are
// answered 503, and not by the rules of others.
func TestDocker_RuleStaysWhileItRestarts(t *testing.T) {
	docker(t, func(e *fakeEngine) { e.set("blog", blog("10.0.0.1")) }, func(e *fakeEngine, latest func() string) {
		e.turn("blog", func(c *fakeContainer) { c.state, c.networks = "restarting", map[string]string{"web": ""} })
		e.event("container", "die", idOf("blog"))
		pass(time.Minute)
		require.Equal(t, "blog: \n80 arzur.net -> blog", latest())
		e.turn("blog", func(c *fakeContainer) { c.state, c.networks = "", map[string]string{"web": "10.0.0.1"} })
		e.event("container", "start", idOf("blog"))
		pass(time.Second)
		require.Equal(t, "blog: 10.0.0.1:80\n80 arzur.net -> blog", latest())
		e.turn("blog", func(c *fakeContainer) { c.state = "exited" })
		e.event("container", "die", idOf("blog"))
		pass(time.Minute)
		require.Empty(t, latest(), "in the end it was stopped")
	})
}

// Some ways of updating stop all containers of a service before they start the
// next. Requests are to wait for those.
func TestDocker_RequestsWaitForTheNext(t *testing.T) {
	watchedSnapshots(t, func(e *fakeEngine) Source { twoBlogs(e); return openDocker(e) }, func(e *fakeEngine, latest func() Snapshot) {
		hold := func() time.Duration { return *latest().Services[0].Hold }
		pass(time.Second)
		require.Equal(t, holdForNews, hold())
		e.event("container", "kill", idOf("blog-1"), "signal", "15")
		e.event("container", "kill", idOf("blog-2"), "signal", "15")
		require.Empty(t, latest().Services[0].Instances)
		require.Equal(t, holdForNext, hold())
		e.event("container", "die", idOf("blog-1"))
		e.event("container", "destroy", idOf("blog-1"))
		e.event("container", "destroy", idOf("blog-2"))
		require.Len(t, latest().Rules, 1)
		require.Equal(t, holdForNext, hold())

		e.set("blog-3", blog("10.0.0.3"))
		e.event("container", "start", idOf("blog-3"))
		pass(time.Second)
		require.Equal(t, "blog: 10.0.0.3:80\n80 arzur.net -> blog", tell(latest()))
		pass(leavingFor)
		require.Equal(t, holdForNews, hold())
	})
}

func TestDocker_OneListAndThenTheChangedOnesAlone(t *testing.T) {
	docker(t, func(e *fakeEngine) {
		for i := range 1000 {
			c := blog(fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250))
			e.set(fmt.Sprint("blog-", i), c)
		}
	}, func(e *fakeEngine, latest func() string) {
		require.Equal(t, 1000, strings.Count(latest(), ":80"))
		asked := e.requests()
		require.Equal(t, map[string]int{"HEAD /_ping": 1, "GET /events": 1, "GET /containers/json": 1}, asked)

		e.turn("blog-7", func(c *fakeContainer) { c.networks = map[string]string{"web": "10.9.9.9"} })
		for range 5 {
			e.event("container", "start", idOf("blog-7"))
		}
		pass(time.Second)
		require.Contains(t, latest(), "10.9.9.9:80")
		require.Equal(t, map[string]int{"GET /containers/" + idOf("blog-7") + "/json": 1}, e.requests())
	})
}

func TestDocker_EventsDuringTheListAreNotLost(t *testing.T) {
	docker(t, func(e *fakeEngine) {
		twoBlogs(e)
		e.onList = func() {
			e.event("container", "kill", idOf("blog-1"), "signal", "15")
			e.set("blog-3", blog("10.0.0.3"))
			e.event("container", "start", idOf("blog-3"))
		}
	}, func(_ *fakeEngine, latest func() string) {
		pass(time.Second)
		require.Equal(t, "blog: 10.0.0.2:80 10.0.0.3:80\n80 arzur.net -> blog", latest())
	})
}

func TestDocker_WhatHappenedBeforeCounts(t *testing.T) {
	f := func(tell func(e *fakeEngine), want string) {
		t.Helper()
		watched(t, func(e *fakeEngine) Source { twoBlogs(e); return openDocker(e) }, func(e *fakeEngine, latest func() string) {
			synctest.Wait() // it has subscribed, and waits for events of the past
			tell(e)
			pass(time.Second)
			require.Equal(t, want, latest())
			for request := range e.requests() {
				require.NotContains(t, request, idOf("blog-2"), "the list shows it already")
			}
		})
	}
	f(func(e *fakeEngine) {
		e.event("container", "start", idOf("blog-2"))
		e.event("container", "kill", idOf("blog-1"), "signal", "15")
	}, oneBlog)
	f(func(e *fakeEngine) {
		e.event("container", "kill", idOf("blog-1"), "signal", "15")
		e.event("container", "die", idOf("blog-1"))
		e.event("container", "start", idOf("blog-1"))
	}, bothBlogs)
}

func TestDocker_StreamEndIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine(t)
		ended := make(chan error, 1)
		go func() { ended <- openDocker(e).Watch(t.Context(), func(Snapshot) {}) }() // ends with the stream
		pass(time.Second)
		e.cut()
		require.EqualError(t, <-ended, "docker events: EOF")
		e.broken = true
		require.ErrorContains(t, openDocker(e).Watch(t.Context(), func(Snapshot) {}), "docker: ")
	})
}

func TestDocker_OnlyReads(t *testing.T) {
	watched(t, func(e *fakeEngine) Source {
		e.getOnly = true
		twoBlogs(e)
		return openDocker(e)
	}, func(e *fakeEngine, latest func() string) {
		pass(time.Second)
		require.Equal(t, bothBlogs, latest())
		for request := range e.requests() {
			method, path, _ := strings.Cut(request, " ")
			require.True(t, method == http.MethodGet || path == "/_ping", request)
		}
	})
}

func TestDocker_SpeaksTheVersionOfTheEngine(t *testing.T) {
	f := func(newest, oldest string) {
		t.Helper()
		docker(t, func(e *fakeEngine) {
			e.version, e.oldest = newest, oldest
			twoBlogs(e)
		}, func(e *fakeEngine, latest func() string) {
			require.Equal(t, bothBlogs, latest(), newest)
			e.event("container", "start", idOf("blog-1"))
			pass(time.Second)
			require.Positive(t, e.requests()["GET /containers/"+idOf("blog-1")+"/json"])
			require.Equal(t, bothBlogs, latest(), newest)
		})
	}
	f("1.41", "1.12") // 20.10
	f("1.43", "1.12")
	f("1.47", "1.24")
	f("1.52", "1.44") // 29
	f("1.99", "1.44") // newer than the client

	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine(t)
		e.version = "1.30"
		require.ErrorContains(t, openDocker(e).Watch(t.Context(), func(Snapshot) {}), "API version 1.30 is not supported")
	})
}

func TestDocker_ClaimsOfTwoServices(t *testing.T) {
	f := func(want string, set func(e *fakeEngine)) {
		t.Helper()
		docker(t, set, func(_ *fakeEngine, latest func() string) { require.Equal(t, want, latest()) })
	}
	of := func(service, host, address string, created int) fakeContainer {
		c := blog(address)
		c.labels = map[string]string{"lb.hostname": host, "lb.service": service}
		c.created = created
		return c
	}
	f("old: 10.0.0.1:80\nnew: 10.0.0.2:80\n80 arzur.net -> old\n"+
		`!container a: label lb.hostname: service "old" gets these requests already; name the same service in both, or another match in one (container z: label lb.hostname)`,
		func(e *fakeEngine) {
			e.set("a", of("new", "ARZUR.net", "10.0.0.2", 200))
			e.set("z", of("old", "arzur.net", "10.0.0.1", 100))
		})
	f("new: 10.0.0.2:80\nold: \n80 arzur.net -> new\n"+
		`!container z: label lb.hostname: service "new" gets these requests already; name the same service in both, or another match in one (container a: label lb.hostname)`,
		func(e *fakeEngine) {
			e.set("a", of("new", "arzur.net", "10.0.0.2", 200))
			e.set("z", of("old", "arzur.net", "10.0.0.1", 100))
			e.turn("z", func(c *fakeContainer) { c.health = "unhealthy" }) // the one that serves counts
		})
	f("blog: 10.0.0.1:80 10.0.0.2:80\n80 arzur.net -> blog\n80 www.arzur.net -> blog", func(e *fakeEngine) {
		e.set("a", of("blog", "arzur.net", "10.0.0.1", 100))
		e.set("b", of("blog", "www.arzur.net", "10.0.0.2", 200))
	})
}
