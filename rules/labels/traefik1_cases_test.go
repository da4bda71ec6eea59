package labels

import (
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// case1 is a case of testdata/traefik1_cases.json: what Traefik 1 does with labels or a rule.
type case1 struct {
	Suite, Name   string
	Input, Expect json.RawMessage
}

// elsewhere1 are the suites about what labels do not decide, and who does.
var elsewhere1 = map[string]string{
	"v1-docker-bind-port-ip": "the Docker Source chooses addresses",
	"v1-docker-ip":           "the Docker Source chooses addresses",
	"v1-docker-servers":      "the Docker Source lists instances",
	"v1-swarm-ip":            "the Docker Source chooses addresses",
	"v1-swarm-list-services": "the Docker Source lists services",
	"v1-swarm-list-tasks":    "the Docker Source lists tasks",
	"v1-empty-backend":       "the engine answers",
	"v1-entrypoint-flag":     "Traefik's command line",
	"v1-forwarded-headers":   "the engine writes them",
	"v1-retry":               "the engine tries again",
	"v1-whitelist":           "not supported; see v1-label-whitelist",
}

// differences1 are the cases in which we do otherwise on purpose, and why.
var differences1 = map[string]string{
	"v1-docker-build/008":       "without a label of Traefik 1 it is the Source's default rule, whose text and so priority are Traefik 3's",
	"v1-docker-build/012":       "without a label of Traefik 1 it is the Source's default rule, whose text and so priority are Traefik 3's",
	"v1-swarm-filter/001":       "the Source finds the port of a Subject without labels, and leaves out what has none",
	"v1-docker-filter/012":      "without a domain Traefik 1 has no default rule and hides the container; we have the Source's default rule",
	"v1-strip-prefix-regex/004": "the path that is sent on begins with a slash",
	"v1-strip-prefix-regex/006": "the path that is sent on begins with a slash",
	"v1-strip-prefix-regex/007": "the path that is sent on begins with a slash",
	"v1-strip-prefix-regex/009": "the path that is sent on begins with a slash",
}

var suites1 = map[string]func(*testing.T, *case1){
	"v1-add-prefix":              testPathEdit,
	"v1-default-priority":        testPriority1,
	"v1-derived":                 testMatch1,
	"v1-docker-backend-name":     testContainer1,
	"v1-docker-build":            testBuild1,
	"v1-docker-filter":           testContainer1,
	"v1-docker-frontend-name":    testContainer1,
	"v1-docker-frontend-rule":    testContainer1,
	"v1-docker-port":             testContainer1,
	"v1-docker-segments":         testBuild1,
	"v1-healthcheck-url":         testHealthURL1,
	"v1-label-auth":              testRefused1,
	"v1-label-buffering":         testUnsupported1,
	"v1-label-circuitbreaker":    testUnsupported1,
	"v1-label-enable":            testEnable1,
	"v1-label-errors":            testUnsupported1,
	"v1-label-headers":           testHeaders1,
	"v1-label-healthcheck":       testHealth1,
	"v1-label-list":              testList1,
	"v1-label-loadbalancer":      testUnsupported1,
	"v1-label-maxconn":           testMaxConn1,
	"v1-label-passtlsclientcert": testRefused1,
	"v1-label-ratelimit":         testRefused1,
	"v1-label-redirect":          testRedirectLabels1,
	"v1-label-whitelist":         testRefused1,
	"v1-lb-method":               testMethod1,
	"v1-redirect-entrypoint":     testRedirectEntryPoint1,
	"v1-redirect-regex":          testRedirectRegexp1,
	"v1-replace-path-regex":      testPathEdit,
	"v1-rule-domains":            testDomains1,
	"v1-rule-error":              testMatch1,
	"v1-rule-match":              testMatch1,
	"v1-rule-priority":           testOrder1,
	"v1-rule-rewrite":            testRewrite1,
	"v1-segment-labels":          testSegments1,
	"v1-strip-prefix":            testPathEdit,
	"v1-strip-prefix-regex":      testPathEdit,
	"v1-swarm-backend-name":      testContainer1,
	"v1-swarm-build":             testBuild1,
	"v1-swarm-filter":            testContainer1,
	"v1-swarm-frontend-name":     testContainer1,
	"v1-swarm-frontend-rule":     testContainer1,
	"v1-swarm-port":              testContainer1,
}

func TestTraefik1_Cases(t *testing.T) {
	data, err := os.ReadFile("testdata/traefik1_cases.json")
	require.NoError(t, err)
	var cases []case1
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 194)
	for _, c := range cases {
		run := suites1[c.Suite]
		require.NotEqual(t, run == nil, elsewhere1[c.Suite] == "", c.Suite)
		id, _, _ := strings.Cut(c.Name, " ")
		if run != nil && differences1[id] == "" {
			t.Run(id, func(t *testing.T) { run(t, &c) })
		}
	}
}

// read fills in and want.
func (c *case1) read(t *testing.T, in, want any) {
	require.NoError(t, json.Unmarshal(c.Input, in))
	require.NoError(t, json.Unmarshal(c.Expect, want))
}

// subject1 is a container that exposes a port.
func subject1(labels map[string]string) *Subject {
	return &Subject{Name: "test", Service: "test", Group: "test", Origin: "container test", Labels: labels, Ports: []uint16{80}}
}

// labelled is what one set of labels asks for.
func (c *case1) labelled(t *testing.T, want any) (map[string]string, Wants) {
	var in struct{ Labels map[string]string }
	c.read(t, &in, want)
	return in.Labels, Decode(subject1(in.Labels), &Options{ExposedByDefault: true, Domain: "docker.localhost"})
}

type request1 struct {
	Method, URL string
	Headers     http.Header
}

func (r *request1) request() *rules.Request {
	_, rest, _ := strings.Cut(r.URL, "://")
	rest, query, _ := strings.Cut(rest, "?")
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	clean, _ := rules.CleanPath(nil, []byte(path))
	return &rules.Request{
		Method: []byte(cmp.Or(r.Method, "GET")), Host: rules.NormalizeHost(nil, []byte(host)),
		Path: clean, Query: []byte(query), Fields: fields1(r.Headers),
	}
}

// fields1 is a rules.Fields over Go's header map.
type fields1 http.Header

func (f fields1) Value(name string, i int) ([]byte, bool) {
	values := http.Header(f).Values(name)
	if i >= len(values) {
		return nil, false
	}
	return []byte(values[i]), true
}

// table1 is the Table of a container with one rule.
func table1(t *testing.T, rule string) (*rules.PortTable, Wants) {
	w := Decode(subject1(map[string]string{"traefik.frontend.rule": rule}), nil)
	table, problems := rules.Compile(rules.Input{Rules: w.Rules, Services: services1(w)}, rules.NoBackends{})
	require.Empty(t, problems, rule)
	return table.On(rules.Listen{Port: 80, Protocol: rules.HTTP}), w
}

func services1(w Wants) []rules.Service {
	var all []rules.Service
	for _, g := range w.Groups {
		all = append(all, g.Service)
	}
	return all
}

func testMatch1(t *testing.T, c *case1) {
	var in struct {
		Rule     string
		Requests []request1
	}
	var want struct {
		Matched                         []bool
		RuleError                       bool
		ForwardedPath, XForwardedPrefix []*string
	}
	c.read(t, &in, &want)
	table, w := table1(t, in.Rule)
	if want.RuleError {
		require.Empty(t, w.Rules)
		require.True(t, w.rejected())
		return
	}
	require.Len(t, want.Matched, len(in.Requests))
	for i, r := range in.Requests {
		e := table.Lookup(r.request())
		require.Equal(t, want.Matched[i], e != nil, "%+v", r)
		if e != nil && want.ForwardedPath != nil {
			got, ok := e.Rewrite(r.request().Path)
			require.True(t, ok)
			require.Equal(t, *want.ForwardedPath[i], string(got.Path))
			require.Equal(t, *want.XForwardedPrefix[i], string(got.Prefix))
		}
	}
}

func testRewrite1(t *testing.T, c *case1) {
	var in struct{ Rule, RequestURL string }
	var want struct {
		Matched      bool
		ForwardedURL string
	}
	c.read(t, &in, &want)
	table, _ := table1(t, in.Rule)
	r := (&request1{URL: in.RequestURL}).request()
	e := table.Lookup(r)
	require.Equal(t, want.Matched, e != nil)
	got, ok := e.Rewrite(r.Path)
	require.True(t, ok)
	require.Equal(t, want.ForwardedURL, "http://"+string(r.Host)+string(got.Path))
}

// testPathEdit: the path alone, through a rule that does nothing else.
func testPathEdit(t *testing.T, c *case1) {
	var in struct {
		Prefixes                         []string
		Prefix, Regex, Replacement, Path string
	}
	var want struct {
		Status                          int
		Path, RawPath                   string
		XForwardedPrefix, XReplacedPath string
	}
	c.read(t, &in, &want)
	rule := map[string]string{
		"v1-add-prefix":         "AddPrefix:" + in.Prefix,
		"v1-replace-path-regex": "ReplacePathRegex:" + in.Regex + " " + in.Replacement,
		"v1-strip-prefix":       "PathPrefixStrip:" + strings.Join(in.Prefixes, ","),
		"v1-strip-prefix-regex": "PathPrefixStripRegex:" + strings.Join(in.Prefixes, ","),
	}[c.Suite]
	table, _ := table1(t, rule)
	e := table.Lookup((&request1{URL: "http://x" + in.Path}).request())
	require.Equal(t, want.Status == 404, e == nil)
	if e == nil {
		return
	}
	got, ok := e.Rewrite([]byte(in.Path))
	require.True(t, ok)
	require.Equal(t, cmp.Or(want.RawPath, want.Path), string(got.Path))
	require.Equal(t, want.XForwardedPrefix, string(got.Prefix))
	require.Equal(t, want.XReplacedPath, string(got.Replaced))
}

func testPriority1(t *testing.T, c *case1) {
	var in struct{ Rule string }
	var want struct{ Priority int }
	c.read(t, &in, &want)
	_, w := table1(t, in.Rule)
	require.Equal(t, TraefikPriority(want.Priority), w.Rules[0].Priority)
}

func testOrder1(t *testing.T, c *case1) {
	var in struct {
		Routes []struct {
			ID, Rule string
			Priority int
		}
		Request struct{ Path string }
	}
	var want struct{ Matched string }
	c.read(t, &in, &want)
	labels := map[string]string{"traefik.port": "80"}
	for _, r := range in.Routes {
		labels["traefik."+r.ID+".frontend.rule"] = r.Rule
		labels["traefik."+r.ID+".frontend.priority"] = strconv.Itoa(r.Priority)
	}
	w := Decode(subject1(labels), nil)
	table, problems := rules.Compile(rules.Input{Rules: w.Rules, Services: services1(w)}, rules.NoBackends{})
	require.Empty(t, problems)
	e := table.On(rules.Listen{Port: 80, Protocol: rules.HTTP}).Lookup((&request1{URL: "http://x" + in.Request.Path}).request())
	require.Equal(t, "test-"+want.Matched, e.Rule.Service)
}

func testDomains1(t *testing.T, c *case1) {
	var in struct{ Rule string }
	var want struct {
		Error   bool
		Domains []string
	}
	c.read(t, &in, &want)
	r, err := parseRule1(in.Rule)
	if want.Error {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	for _, d := range want.Domains {
		require.Contains(t, r.expr, "Host(`"+d+"`)")
	}
	require.Equal(t, len(want.Domains), strings.Count(r.expr, "Host("))
}

func testSegments1(t *testing.T, c *case1) {
	var in struct{ Labels map[string]string }
	var want struct{ Segments map[string]map[string]string }
	c.read(t, &in, &want)
	got := make(map[string]map[string]string)
	for name, properties := range segments(in.Labels) {
		got[name] = make(map[string]string)
		for property, key := range properties {
			got[name]["traefik."+property] = in.Labels[key]
		}
	}
	require.Equal(t, want.Segments, got)
}

func testEnable1(t *testing.T, c *case1) {
	var in struct {
		Labels           map[string]string
		ExposedByDefault bool
	}
	var want struct{ Enabled bool }
	c.read(t, &in, &want)
	w := Decode(subject1(in.Labels), &Options{ExposedByDefault: in.ExposedByDefault})
	require.Equal(t, want.Enabled, w.Hidden == "")
}

func testList1(t *testing.T, c *case1) {
	var in struct{ Value, Separator string }
	var want struct{ List []string }
	c.read(t, &in, &want)
	require.Equal(t, ",", in.Separator)
	require.Equal(t, want.List, splitList(in.Value))
}
