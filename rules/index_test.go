package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLookup(t *testing.T) {
	table, problems := compile(
		Rule{Name: "exact", Port: 80, Hostname: "a.de", Service: "blog"},
		Rule{Name: "exact/p", Port: 80, Hostname: "a.de", Path: "/p", Service: "blog"},
		Rule{Name: "*.a.de", Port: 80, Hostname: "*.a.de", Service: "blog"},
		Rule{Name: "*.b.a.de", Port: 80, Hostname: "*.b.a.de", Service: "blog"},
		Rule{Name: "a.*", Port: 80, Hostname: "a.*", Service: "blog"},
		Rule{Name: "*zz", Port: 80, Hostname: "*zz", Service: "blog"},
		Rule{Name: "/any", Port: 80, Path: "/any", Service: "blog"},
		Rule{Name: "post", Port: 80, Expr: "Host(`a.de`) && Method(`POST`)", Service: "blog"},
		Rule{Name: "urgent", Port: 80, Path: "/urgent", Priority: 1, Service: "blog"},
		Rule{Name: "idn", Port: 80, Hostname: "bücher.de", Service: "blog"},
	)
	require.Empty(t, problems)
	lookup := func(r *Request) string {
		if e := on80(table).Lookup(r); e != nil {
			return e.Rule.Name
		}
		return ""
	}
	f := func(url, want string) {
		t.Helper()
		require.Equal(t, want, lookup(request(url)))
	}
	f("a.de/", "exact")
	f("A.de.:8080/x", "exact")
	f("a.de/p/q", "exact/p")
	f("a.de/pq", "exact")
	f("a.de/any", "exact")
	f("x.a.de/", "*.a.de")
	f("x.y.a.de/", "*.a.de")
	f("x.b.a.de/", "*.b.a.de")
	f("b.a.de/", "*.a.de")
	f("a.com/", "a.*")
	f("fizz/", "*zz")
	f("zz/", "*zz")
	f("c.de/any", "/any")
	f("c.de/", "")
	f("/any", "/any")
	f("a.de/urgent", "urgent")
	f("x.b.a.de/urgent/x", "urgent")
	f("c.de/x/../any", "/any")
	f("xn--bcher-kva.de", "idn")
	f("a."+strings.Repeat("x", longestHost)+"/any", "/any")
	post := request("a.de/p")
	post.Method = []byte("POST")
	require.Equal(t, "exact/p", lookup(post))
	post = request("a.de/q")
	post.Method = []byte("POST")
	require.Equal(t, "post", lookup(post))
}

// The index finds what walking all Entries in order finds.
func TestLookup_IsTheFirstThatMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		table, unreachable := randomTable(random)
		for range 300 {
			r := randomRequest(random)
			got := on80(table).Lookup(r)
			var want, explained *Entry
			for _, e := range table.Entries() {
				if e.match.takes(r) {
					want = e
					break
				}
			}
			steps := table.Explain(Listen{Port: 80, Protocol: HTTP}, r)
			if i := slices.IndexFunc(steps, func(s Step) bool { return s.Why == "" }); i >= 0 {
				explained = steps[i].Entry
			}
			require.Equal(t, name(got), name(explained), "%s %s%s\n%s", r.Method, r.Host, r.Path, table)
			require.Equal(t, name(want), name(got), "%s %s%s\n%s", r.Method, r.Host, r.Path, table)
			require.NotContains(t, unreachable, name(got), "%s%s\n%s", r.Host, r.Path, table)
		}
	}
}

func name(e *Entry) string {
	if e == nil {
		return "none"
	}
	return e.Rule.Name
}

// takes is the slow and plain way to match.
func (m *match) takes(r *Request) bool {
	fits := func(a alternative) bool { return a.host.takes(r.Host) && a.path.takes(r.routing) }
	return slices.ContainsFunc(m.alternatives, fits) && (m.cond == nil || m.cond.holds(r))
}

var (
	someHosts = []string{"", "a", "b.a", "c.b.a", "x.a", "a.x", "*.a", "*.b.a", "a.*", "*a", "x*"}
	somePaths = []string{"", "/", "/a", "/a/", "/a/b", "/A", "/ab", "/a/b/c"}
	someExprs = []string{
		"Host(`a`) && Method(`GET`)", "Host(`a`) || Host(`b.a`) && PathPrefix(`/a`)", "!Path(`/a`)", "Host(`*.a`)",
		"PathPrefix(`/a`)", "PathRegexp(`b$`) && Host(`b.a`)", "Host(`a`) && (Path(`/a`) || Method(`POST`))",
	}
)

func pick(random *rand.Rand, from []string) string { return from[random.IntN(len(from))] }

// randomTable has up to 40 rules, and says which of them it holds for unreachable.
func randomTable(random *rand.Rand) (*Table, []string) {
	var all []Rule
	rancher := Order(random.IntN(2))
	for i := range 1 + random.IntN(40) {
		r := Rule{Name: fmt.Sprint("r", i), Port: 80, Service: "blog", Order: rancher}
		if random.IntN(5) == 0 {
			r.Priority = random.IntN(4)
		}
		if random.IntN(4) == 0 {
			r.Expr = pick(random, someExprs)
		} else {
			r.Hostname, r.Path, r.PathMatch = pick(random, someHosts), pick(random, somePaths), PathMatch(random.IntN(4))
		}
		all = append(all, r)
	}
	table, problems := compile(all...)
	var unreachable []string
	for _, p := range problems {
		unreachable = append(unreachable, p.Rule)
	}
	return table, unreachable
}

func randomRequest(random *rand.Rand) *Request {
	hosts := []string{"", "a", "b.a", "c.b.a", "x.a", "a.x", "aa", "xa", "x"}
	paths := []string{"", "/", "/a", "/a/", "/a/b", "/A", "/Ab", "/ab", "/a/b/c", "/a%2Fb", "/%61/b", "/aa"}
	r := request(pick(random, hosts) + pick(random, paths))
	r.Method = []byte(pick(random, []string{"GET", "POST"}))
	if random.IntN(20) == 0 {
		r.Path = []byte("*")
	}
	return r
}

// Regular expressions do not allocate either, but they keep their machines in
// a sync.Pool, which forgets some on purpose under the race detector.
func TestLookup_DoesNotAllocate(t *testing.T) {
	table, problems := compile(
		Rule{Port: 80, Hostname: "a.de", Path: "/foo bar", Service: "blog"},
		Rule{Port: 80, Hostname: "*.a.de", Service: "blog"},
		Rule{Port: 80, Hostname: "a.*", Path: "/X1", PathMatch: PathRaw, Service: "blog"},
		Rule{Port: 80, Expr: "Host(`e.de`) && Header(`X-A`, `2`) && Query(`q`, `a b`) && !(Method(`POST`) || !ClientIP(`10.0.0.0/8`))", Service: "blog"},
	)
	require.Empty(t, problems)
	p := on80(table)
	f := func(r *Request) {
		t.Helper()
		r.Fields = oneField("2")
		require.NotNil(t, p.Lookup(r))
		require.Zero(t, testing.AllocsPerRun(100, func() { p.Lookup(r) }))
	}
	f(request("a.de/foo%20bar"))
	f(request("x.y.a.de/"))
	f(request("a.com/x1"))
	f((&traefikRequest{URL: "e.de/?q=a+b", RemoteAddr: "10.1.1.1:1"}).request())
}

// oneField is Fields in which every field has one value.
type oneField []byte

func (f oneField) Value(_ string, i int) ([]byte, bool) { return f, i == 0 }

func TestLookup_EveryPathOfManyIsFound(t *testing.T) {
	var all []Rule
	for i := range 1000 {
		all = append(all, Rule{Port: 80, Hostname: "a", Path: fmt.Sprintf("/p%d", i), PathMatch: PathMatch(i%2) * PathRaw, Service: "blog"})
	}
	table, problems := compile(all...)
	for _, p := range problems {
		require.False(t, p.Fatal, p.Reason)
	}
	for i := range 1000 {
		e := on80(table).Lookup(request(fmt.Sprintf("a/p%d/x", i)))
		require.Equal(t, fmt.Sprintf("/p%d", i), e.Rule.Path)
	}
	require.Nil(t, on80(table).Lookup(request("a/q")))
}

// manyHosts is n rules with a host each.
func manyHosts(n int) []Rule {
	all := make([]Rule, n)
	for i := range all {
		all[i] = Rule{Port: 80, Hostname: fmt.Sprintf("host-%d.example.com", i), Service: "blog"}
	}
	return all
}

// Comparing each rule with every other would take 60,000 rules 9 s and more, where
// it takes less than one: four times as many would take up to sixteen times as long.
func TestCompile_IsNearLinear(t *testing.T) {
	f := func(what string, rule func(i int) Rule) {
		all := make([]Rule, 60_000)
		for i := range all {
			all[i] = rule(i)
			all[i].Port, all[i].Service = 80, "blog"
		}
		var few, many time.Duration
		for try := 0; try == 0 || try < 3 && many >= 9*few; try++ { // others may get in the way of one
			few, many = min(compileTime(t, all[:15_000]), compileTime(t, all[:15_000])), compileTime(t, all)
		}
		require.Less(t, many, 9*few, what)
	}
	f("paths", func(i int) Rule { return Rule{Hostname: "h.de", Path: fmt.Sprintf("/p/%d", i)} })
	f("expressions", func(i int) Rule {
		return Rule{Expr: fmt.Sprintf("Host(`h.de`) && Header(`X-User`, `%d`)", i)}
	})
	f("regexps", func(i int) Rule {
		return Rule{Hostname: "h.de", Path: fmt.Sprintf("^/%d", i), PathMatch: PathRegexp}
	})
}

// compileTime is the processor time that compiling takes: a busy machine does not change it much.
func compileTime(t *testing.T, all []Rule) time.Duration {
	cpu := func() time.Duration {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano())
	}
	start := cpu()
	table, problems := compile(all...)
	took := cpu() - start
	require.Empty(t, problems)
	require.Len(t, table.Entries(), len(all))
	return took
}

func benchmarkLookup(b *testing.B, all []Rule, url func(i int) string) {
	table, problems := compile(all...)
	require.Empty(b, problems)
	p := on80(table)
	requests := make([]*Request, 1<<14)
	for i := range requests {
		requests[i] = request(url(rand.IntN(len(all))))
		require.NotNil(b, p.Lookup(requests[i]))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.Lookup(requests[i&(1<<14-1)])
		i++
	}
}

func byHost(i int) string { return fmt.Sprintf("host-%d.example.com/some/path", i) }

func BenchmarkLookup10(b *testing.B)   { benchmarkLookup(b, manyHosts(10), byHost) }
func BenchmarkLookup10k(b *testing.B)  { benchmarkLookup(b, manyHosts(10_000), byHost) }
func BenchmarkLookup100k(b *testing.B) { benchmarkLookup(b, manyHosts(100_000), byHost) }

func BenchmarkLookupPaths10k(b *testing.B) {
	all := make([]Rule, 10_000)
	for i := range all {
		all[i] = Rule{Port: 80, Hostname: "example.com", Path: fmt.Sprintf("/app/%d", i), Service: "blog"}
	}
	benchmarkLookup(b, all, func(i int) string { return fmt.Sprintf("example.com/app/%d/x", i) })
}

func BenchmarkLookupWildcards10k(b *testing.B) {
	all := manyHosts(10_000)
	for i := range all {
		all[i].Hostname = "*." + all[i].Hostname
	}
	benchmarkLookup(b, all, func(i int) string { return "www." + byHost(i) })
}

func BenchmarkLookupExpressions10k(b *testing.B) {
	all := manyHosts(10_000)
	for i := range all {
		all[i].Expr = fmt.Sprintf("Host(`%s`) && PathPrefix(`/some`) && Method(`GET`)", all[i].Hostname)
		all[i].Hostname = ""
	}
	benchmarkLookup(b, all, byHost)
}

func BenchmarkLookupRegexp(b *testing.B) {
	all := []Rule{{Port: 80, Expr: "HostRegexp(`^host-[0-9]+\\.`) && PathRegexp(`^/some/`) && QueryRegexp(`q`, `^a b$`)", Service: "blog"}}
	benchmarkLookup(b, all, func(i int) string { return byHost(i) + "?q=a+b" })
}

func BenchmarkCompile100k(b *testing.B) {
	all := manyHosts(100_000)
	for b.Loop() {
		compile(all...)
	}
}
