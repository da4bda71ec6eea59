package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest/observer"
)

// soon is when a change has been seen, settled and loaded.
const soon = 2 * time.Second

// watching is a Watcher that runs in the time of synctest.
type watching struct {
	*Watcher
	t    *testing.T
	a    *authority
	dir  string
	logs *observer.ObservedLogs
}

func watch(t *testing.T, f func(w *watching)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, logs := newLog()
		w := &watching{NewWatcher(&Store{}, log), t, newAuthority(t), t.TempDir(), logs}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { // ends with ctx, and is waited for below
			defer close(ended)
			w.Run(ctx)
		}()
		f(w)
		stop()
		<-ended
	})
}

func (w *watching) path(name string) string { return filepath.Join(w.dir, name) }

func (w *watching) write(files map[string][]byte) { write(w.t, w.dir, files) }

// serves is the certificate that handshakes for name get, nil if none.
func (w *watching) serves(name string) *x509.Certificate {
	w.t.Helper()
	c, err := w.store.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	require.NoError(w.t, err)
	if c == nil {
		return nil
	}
	return c.Leaf
}

// reasons are what Problems has, in words.
func (w *watching) reasons() (list []string) {
	for _, p := range w.Problems() {
		list = append(list, p.Reason)
	}
	return list
}

func TestWatcher_ServesARenewedPairOnceBothFilesFit(t *testing.T) {
	watch(t, func(w *watching) {
		old, renewed := w.a.issue(t, []string{"arzur.net"}), w.a.issue(t, []string{"arzur.net"})
		w.write(map[string][]byte{"a.pem": old.chained(), "a.key": old.key})
		w.Set([]Files{{Cert: w.path("a.pem"), Key: w.path("a.key"), Origin: "rules.yml:2"}}, nil)
		require.Equal(t, old.leaf, w.serves("arzur.net"))
		require.Empty(t, w.Problems())
		time.Sleep(time.Minute)

		replace(t, w.path("a.pem"), renewed.chained())
		time.Sleep(soon)
		require.Equal(t, old.leaf, w.serves("arzur.net"))
		require.Equal(t, []string{w.path("a.key") + ": does not go with " + w.path("a.pem") + ": tls: private key does not match public key" +
			"; the certificate of before keeps serving, until " + day(old.leaf.NotAfter)}, w.reasons())
		require.Equal(t, "rules.yml:2", w.Problems()[0].Origin)
		require.False(t, w.Problems()[0].Fatal)

		replace(t, w.path("a.key"), renewed.key)
		time.Sleep(soon)
		require.Equal(t, renewed.leaf, w.serves("arzur.net"))
		require.Empty(t, w.Problems())
		require.Equal(t, 1, w.logs.FilterMessage("certificate renewed").Len())
		require.Equal(t, 1, w.logs.FilterMessage("certificate cannot be served").Len())
	})
}

func TestWatcher_ABadRenewalKeepsTheOld(t *testing.T) {
	watch(t, func(w *watching) {
		good := w.a.issue(t, []string{"arzur.net"})
		expired := w.a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		w.write(map[string][]byte{"a.pem": good.both()})
		w.Set([]Files{{Cert: w.path("a.pem")}}, nil)
		f := func(change func(), want string) {
			t.Helper()
			change()
			time.Sleep(soon)
			require.Equal(t, good.leaf, w.serves("arzur.net"))
			require.Len(t, w.reasons(), 1)
			require.Contains(t, w.reasons()[0], want)
		}
		f(func() { replace(t, w.path("a.pem"), nil) }, "a.pem: no certificate")
		f(func() { replace(t, w.path("a.pem"), good.both()[:300]) }, "a.pem: no certificate")
		f(func() { replace(t, w.path("a.pem"), good.chained()) }, "a.pem: no key")
		f(func() { replace(t, w.path("a.pem"), expired.both()) }, "a.pem: expired on ")
		f(func() { require.NoError(t, os.Remove(w.path("a.pem"))) }, "a.pem: no such file")
		f(func() { require.NoError(t, os.Mkdir(w.path("a.pem"), 0o700)) }, "a.pem: is a folder; want a file")
		require.NoError(t, os.Remove(w.path("a.pem")))
		again := w.a.issue(t, []string{"arzur.net"})
		replace(t, w.path("a.pem"), again.both())
		time.Sleep(soon)
		require.Equal(t, again.leaf, w.serves("arzur.net"))
		require.Empty(t, w.Problems())
	})
}

func TestWatcher_ABadReplacementKeepsTheOld(t *testing.T) {
	watch(t, func(w *watching) {
		named, other := w.a.issue(t, []string{"arzur.net"}), w.a.issue(t, []string{"other.net"})
		w.write(map[string][]byte{"a.pem": append(named.chained(), named.key...), "o.pem": append(other.chained(), other.key...)})
		a, o := Files{Cert: w.path("a.pem"), Origin: "rules.yml:2"}, Files{Cert: w.path("o.pem"), Origin: "rules.yml:3"}
		set := func(wanted Files, standard *Files) { w.Set([]Files{wanted}, standard) }
		set(a, &o)

		moved := Files{Cert: w.path("moved.pem"), Origin: "rules.yml:2"}
		set(moved, &moved)
		require.Equal(t, named.leaf, w.serves("arzur.net"))
		require.Equal(t, other.leaf, w.serves("elsewhere.net"))
		require.Equal(t, []string{w.path("moved.pem") + ": no such file; until it is good, the certificates of before stay in use"}, w.reasons())
		require.Len(t, w.store.all(), 2)

		set(Files{Dir: w.path("none"), Origin: "rules.yml:2"}, &moved)
		time.Sleep(time.Hour)
		require.Equal(t, named.leaf, w.serves("arzur.net"))
		require.Equal(t, other.leaf, w.serves("elsewhere.net"))

		set(moved, &moved)
		renewed := w.a.issue(t, []string{"arzur.net"})
		w.write(map[string][]byte{"moved.pem": append(renewed.chained(), renewed.key...)})
		time.Sleep(retryBroken + soon)
		require.Equal(t, renewed.leaf, w.serves("arzur.net"))
		require.Equal(t, renewed.leaf, w.serves("other.net"))
		require.Empty(t, w.reasons())

		set(moved, nil)
		require.Nil(t, w.serves("other.net"))
	})
}

func TestWatcher_ABadFileKeepsNothingThatWasReplaced(t *testing.T) {
	watch(t, func(w *watching) {
		files := map[string][]byte{}
		issue := func(file string, names ...string) *x509.Certificate {
			c := w.a.issue(t, names)
			files[file] = append(c.chained(), c.key...)
			return c.leaf
		}
		leaked, www, fresh := issue("leaked.pem", "arzur.net", "api.arzur.net"), issue("www.pem", "www.arzur.net"), issue("fresh.pem", "arzur.net", "*.arzur.net")
		w.write(files)
		set := func(names ...string) {
			var wanted []Files
			for _, n := range names {
				wanted = append(wanted, Files{Cert: w.path(n)})
			}
			w.Set(wanted, nil)
		}
		set("leaked.pem", "www.pem", "none.pem")
		require.Equal(t, leaked, w.serves("arzur.net"))

		set("fresh.pem", "none.pem") // which was no good before
		require.Equal(t, fresh, w.serves("arzur.net"))
		require.Len(t, w.store.List(), 1)

		set("leaked.pem", "www.pem")
		set("fresh.pem", "worse.pem")
		require.Equal(t, fresh, w.serves("arzur.net"))
		require.Equal(t, fresh, w.serves("api.arzur.net"))
		require.Equal(t, fresh, w.serves("www.arzur.net"))

		set("www.pem", "worst.pem")
		require.Equal(t, www, w.serves("www.arzur.net"))
		require.Equal(t, fresh, w.serves("arzur.net"))
	})
}

func TestWatcher_FollowsAFolder(t *testing.T) {
	watch(t, func(w *watching) {
		a, b := w.a.issue(t, []string{"a.net"}), w.a.issue(t, []string{"b.net"})
		w.Set([]Files{{Dir: w.path("certs")}}, nil)
		require.Equal(t, []string{"open " + w.path("certs") + ": no such file or directory"}, w.reasons())

		w.write(map[string][]byte{"certs/a.pem": a.both(), "certs/b/fullchain.pem": b.chained(), "certs/b/privkey.pem": b.key})
		time.Sleep(soon)
		require.Empty(t, w.Problems())
		require.Equal(t, a.leaf, w.serves("a.net"))
		require.Equal(t, b.leaf, w.serves("b.net"))
		require.Equal(t, 2, w.logs.FilterMessage("certificate added").Len())

		// What cannot be read is not gone.
		require.NoError(t, os.Rename(w.path("certs"), w.path("away")))
		time.Sleep(time.Minute)
		require.Equal(t, a.leaf, w.serves("a.net"))
		require.NotEmpty(t, w.Problems())
		require.NoError(t, os.Rename(w.path("away"), w.path("certs")))

		require.NoError(t, os.Remove(w.path("certs/a.pem")))
		time.Sleep(soon)
		require.Equal(t, a.leaf, w.serves("a.net"), "some tools delete before they write")
		w.Set([]Files{{Dir: w.path("certs")}}, nil)
		require.Equal(t, a.leaf, w.serves("a.net"), "and say SIGHUP meanwhile")
		time.Sleep(goneAfter)
		require.Nil(t, w.serves("a.net"))
		require.Equal(t, 1, w.logs.FilterMessage("certificate gone").Len())
		require.Equal(t, b.leaf, w.serves("b.net"))
		require.Empty(t, w.Problems())

		w.Set(nil, nil)
		require.Nil(t, w.serves("b.net"))
	})
}

func TestWatcher_FollowsLinks(t *testing.T) {
	watch(t, func(w *watching) {
		link := func(from, to string) {
			t.Helper()
			require.NoError(t, os.MkdirAll(filepath.Dir(w.path(from)), 0o755))
			require.NoError(t, os.Symlink(to, w.path("new-link")))
			require.NoError(t, os.Rename(w.path("new-link"), w.path(from)))
		}
		// As certbot has it: the links are swapped one by one.
		one, two := w.a.issue(t, []string{"arzur.net"}), w.a.issue(t, []string{"arzur.net"})
		w.write(map[string][]byte{
			"archive/arzur.net/fullchain1.pem": one.chained(), "archive/arzur.net/privkey1.pem": one.key,
			"archive/arzur.net/fullchain2.pem": two.chained(), "archive/arzur.net/privkey2.pem": two.key,
			"live/README": nil,
		})
		link("live/arzur.net/fullchain.pem", "../../archive/arzur.net/fullchain1.pem")
		link("live/arzur.net/privkey.pem", "../../archive/arzur.net/privkey1.pem")
		// As Kubernetes has it: a folder is swapped.
		three, four := w.a.issue(t, []string{"k8s"}), w.a.issue(t, []string{"k8s"})
		w.write(map[string][]byte{"secret/..1/tls.crt": three.chained(), "secret/..1/tls.key": three.key, "secret/..2/tls.crt": four.chained(), "secret/..2/tls.key": four.key})
		link("secret/..data", "..1")
		link("secret/tls.crt", "..data/tls.crt")
		link("secret/tls.key", "..data/tls.key")
		w.Set([]Files{{Dir: w.path("live")}, {Dir: w.path("secret")}}, nil)
		require.Empty(t, w.Problems())
		require.Equal(t, one.leaf, w.serves("arzur.net"))
		require.Equal(t, three.leaf, w.serves("k8s"))

		link("live/arzur.net/fullchain.pem", "../../archive/arzur.net/fullchain2.pem")
		link("live/arzur.net/privkey.pem", "../../archive/arzur.net/privkey2.pem")
		link("secret/..data", "..2")
		time.Sleep(soon)
		require.Empty(t, w.Problems())
		require.Equal(t, two.leaf, w.serves("arzur.net"))
		require.Equal(t, four.leaf, w.serves("k8s"))
	})
}

func TestWatcher_ReadsWhatChangedAlone(t *testing.T) {
	watch(t, func(w *watching) {
		a, b := w.a.issue(t, []string{"a.net"}), w.a.issue(t, []string{"b.net"})
		w.write(map[string][]byte{"a.pem": a.both(), "b.pem": b.both()})
		w.Set([]Files{{Dir: w.dir}}, nil)
		time.Sleep(time.Minute)
		read := func(name string) time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.known[pair{w.path(name), w.path(name)}].certStamp.at
		}
		readA, readB := read("a.pem"), read("b.pem")
		time.Sleep(time.Minute)
		replace(t, w.path("b.pem"), b.both()) // the same again
		before := w.store.current.Load().exact["b.net"][0]
		time.Sleep(soon)
		w.Set([]Files{{Dir: w.dir}}, nil)
		require.Equal(t, readA, read("a.pem"))
		require.NotEqual(t, readB, read("b.pem"))
		require.Same(t, before, w.store.current.Load().exact["b.net"][0], "the staple of a certificate that is the same stays")
		require.Zero(t, w.logs.FilterMessage("certificate renewed").Len())
	})
}

func TestWatcher_SeesAChangeThatTheClockDoesNotShow(t *testing.T) {
	watch(t, func(w *watching) {
		a, b := w.a.issue(t, []string{"a.net"}), w.a.issue(t, []string{"b.net"})
		w.write(map[string][]byte{"x.pem": a.both()})
		w.Set([]Files{{Cert: w.path("x.pem")}}, nil)
		require.NotNil(t, w.serves("a.net"))
		// The same size, the same file, the same stamp.
		n := max(len(a.both()), len(b.both()))
		pad := func(x []byte) []byte { return append(x, make([]byte, n-len(x))...) }
		stamp := time.Now()
		for _, x := range []*sample{a, b} {
			w.write(map[string][]byte{"x.pem": pad(x.both())})
			require.NoError(t, os.Chtimes(w.path("x.pem"), stamp, stamp))
			time.Sleep(1100 * time.Millisecond)
		}
		time.Sleep(soon)
		require.NotNil(t, w.serves("b.net"))
	})
}

func TestWatcher_TriesAgainWhatIsNotValidYet(t *testing.T) {
	watch(t, func(w *watching) {
		early := w.a.issue(t, []string{"arzur.net"}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(10 * time.Minute) })
		w.write(map[string][]byte{"a.pem": early.both()})
		w.Set(nil, &Files{Cert: w.path("a.pem"), Origin: "rules.yml:7"})
		require.Len(t, w.Problems(), 1)
		require.True(t, w.Problems()[0].Fatal)
		require.Contains(t, w.Problems()[0].Reason, "not valid before ")
		time.Sleep(12 * time.Minute)
		require.Empty(t, w.Problems())
		require.Equal(t, early.leaf, w.serves("anything"))
		require.True(t, w.store.List()[0].Default)
	})
}
