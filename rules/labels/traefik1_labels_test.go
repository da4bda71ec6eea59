package labels

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/health"
	"arzur.net/lb/rules"
)

// testRefused1: what protects is not supported yet, so the rule must not serve.
func testRefused1(t *testing.T, c *case1) {
	var want struct{ Value any }
	_, w := c.labelled(t, &want)
	require.Len(t, w.Rules, 1)
	require.Equal(t, want.Value != nil, w.Rules[0].Refuse != "", "%+v", w)
	require.Equal(t, want.Value != nil, w.rejected())
}

// testUnsupported1: what is not supported yet is named, label by label, and the rule serves.
func testUnsupported1(t *testing.T, c *case1) {
	var want struct{ Value any }
	labels, w := c.labelled(t, &want)
	require.Len(t, w.Rules, 1)
	require.Empty(t, w.Rules[0].Refuse)
	for key, value := range labels {
		named := func(p rules.Problem) bool { return p.Origin == "container test: label "+key && !p.Fatal }
		require.Equal(t, value != "", slices.ContainsFunc(w.Problems, named), key)
	}
	require.Equal(t, want.Value != nil, len(w.Problems) > 0)
}

// testMaxConn1: a limit by client protects, one by host does not.
func testMaxConn1(t *testing.T, c *case1) {
	var want struct {
		Value *struct{ ExtractorFunc string }
	}
	_, w := c.labelled(t, &want)
	if want.Value == nil || want.Value.ExtractorFunc == "request.host" {
		testUnsupported1(t, c)
		return
	}
	require.Equal(t, "a limit of requests by client is not supported yet", w.Rules[0].Refuse)
	require.True(t, w.rejected())
}

func testMethod1(t *testing.T, c *case1) {
	var in, want struct{ Method string }
	c.read(t, &in, &want)
	w := Decode(subject1(map[string]string{"traefik.backend.loadbalancer.method": in.Method}), nil)
	require.Len(t, w.Rules, 1)
	require.Equal(t, want.Method != "wrr", len(w.Problems) > 0)
}

func testHealth1(t *testing.T, c *case1) {
	var want struct {
		Value *struct {
			Headers                          map[string]string
			Hostname, Interval, Path, Scheme string
			Port                             uint16
		}
	}
	_, w := c.labelled(t, &want)
	require.Empty(t, w.Problems)
	check := w.Groups[0].Service.Check
	require.Equal(t, want.Value == nil, check == nil)
	if check == nil {
		return
	}
	p, err := health.ParseRequestLine(check.RequestLine)
	require.NoError(t, err)
	headers := make(map[string]string)
	for _, f := range p.Fields {
		name, value, _ := strings.Cut(f, ": ")
		headers[name] = value
	}
	require.Equal(t, want.Value.Headers, headers)
	require.Equal(t, want.Value.Hostname, check.Hostname)
	require.Equal(t, want.Value.Interval+"s", check.Interval.String())
	require.Equal(t, want.Value.Path, p.Target)
	require.Equal(t, want.Value.Port, check.Port)
}

func testHealthURL1(t *testing.T, c *case1) {
	var in struct {
		Server  string
		Options struct {
			Path, Scheme string
			Port         int
		}
	}
	var want struct {
		Err   bool
		Value string
	}
	c.read(t, &in, &want)
	w := Decode(subject1(map[string]string{
		"traefik.backend.healthcheck.path":   in.Options.Path,
		"traefik.backend.healthcheck.scheme": in.Options.Scheme,
		"traefik.backend.healthcheck.port":   strconv.Itoa(in.Options.Port),
	}), nil)
	check := w.Groups[0].Service.Check
	require.Equal(t, want.Err, check == nil)
	require.Equal(t, want.Err, len(w.Problems) > 0)
	if check == nil {
		return
	}
	p, err := health.ParseRequestLine(check.RequestLine)
	require.NoError(t, err)
	server, err := url.Parse(in.Server)
	require.NoError(t, err)
	if check.Port != 0 {
		server.Host = fmt.Sprintf("%s:%d", server.Hostname(), check.Port)
	}
	require.Equal(t, want.Value, server.Scheme+"://"+server.Host+p.Target)
}

func testHeaders1(t *testing.T, c *case1) {
	var want struct {
		Value *struct {
			CustomRequestHeaders, CustomResponseHeaders                  map[string]string
			ContentSecurityPolicy, CustomBrowserXSSValue, ReferrerPolicy string
			CustomFrameOptionsValue                                      string
			ContentTypeNosniff, IsDevelopment                            bool
			AllowedHosts                                                 []string
		}
	}
	_, w := c.labelled(t, &want)
	require.Len(t, w.Rules, 1)
	r := &w.Rules[0]
	if want.Value == nil {
		require.True(t, r.RequestHeaders.Empty() && r.ResponseHeaders.Empty())
		return
	}
	v := want.Value
	require.Equal(t, v.CustomRequestHeaders, fieldMap(r.RequestHeaders.Set))
	response := maps.Clone(v.CustomResponseHeaders)
	response["Content-Security-Policy"] = v.ContentSecurityPolicy
	response["X-XSS-Protection"] = v.CustomBrowserXSSValue
	response["X-Frame-Options"] = v.CustomFrameOptionsValue
	response["Referrer-Policy"] = v.ReferrerPolicy
	require.True(t, v.ContentTypeNosniff && v.IsDevelopment)
	response["X-Content-Type-Options"] = "nosniff"
	require.Equal(t, response, fieldMap(r.ResponseHeaders.Set))
}

func fieldMap(list []rules.HeaderField) map[string]string {
	m := make(map[string]string)
	for _, f := range list {
		m[f.Name] = f.Value
	}
	return m
}

func testRedirectLabels1(t *testing.T, c *case1) {
	var want struct {
		Value *struct {
			EntryPoint, Regex, Replacement string
			Permanent                      bool
		}
	}
	_, w := c.labelled(t, &want)
	require.Len(t, w.Rules, 1)
	to := w.Rules[0].Redirect
	require.Equal(t, want.Value == nil, to == nil)
	if to == nil {
		require.Len(t, w.Problems, 1)
		return
	}
	require.True(t, to.ByMethod)
	require.Equal(t, want.Value.Permanent, to.Permanent)
	require.Equal(t, want.Value.Regex, to.Pattern)
	require.Equal(t, want.Value.Replacement, to.Replacement)
	if want.Value.EntryPoint != "" {
		require.Equal(t, &rules.Redirect{Scheme: "https", Port: 443, ByMethod: true, Permanent: to.Permanent}, to)
	}
}

func testRedirectEntryPoint1(t *testing.T, c *case1) {
	var in struct {
		Target struct {
			Address string
			TLS     bool
		}
		Permanent bool
	}
	var want struct {
		Error    bool
		Status   int
		Location *string
	}
	c.read(t, &in, &want)
	o := Options{ExposedByDefault: true, EntryPoints: map[string]uint16{"web": 8000}}
	port, err := strconv.ParseUint(strings.TrimPrefix(in.Target.Address, ":"), 10, 16)
	if err == nil {
		o.EntryPoints["target"] = uint16(port)
	}
	w := Decode(subject1(map[string]string{
		"traefik.frontend.redirect.entryPoint": "target",
		"traefik.frontend.redirect.permanent":  strconv.FormatBool(in.Permanent),
	}), &o)
	require.Equal(t, want.Error, w.rejected())
	if want.Error {
		require.Empty(t, w.Rules)
		return
	}
	location, err := url.Parse(*want.Location)
	require.NoError(t, err)
	to := w.Rules[0].Redirect
	require.Equal(t, location.Scheme, to.Scheme)
	require.Equal(t, location.Port(), strconv.Itoa(int(to.Port)))
	require.True(t, to.ByMethod)
	require.Equal(t, want.Status == 301 || want.Status == 308, to.Permanent)
}

func testRedirectRegexp1(t *testing.T, c *case1) {
	var in struct {
		Regex, Replacement, URL string
		Permanent               bool
	}
	var want struct {
		Error    bool
		Status   int
		Location *string
	}
	c.read(t, &in, &want)
	double := strings.NewReplacer(`\`, `\\`)
	w := Decode(subject1(map[string]string{
		"traefik.frontend.redirect.regex":       double.Replace(in.Regex),
		"traefik.frontend.redirect.replacement": double.Replace(in.Replacement),
		"traefik.frontend.redirect.permanent":   strconv.FormatBool(in.Permanent),
	}), nil)
	require.Equal(t, want.Error, w.rejected())
	if want.Error {
		return
	}
	table, problems := rules.Compile(rules.Input{Rules: w.Rules, Services: services1(w)}, rules.NoBackends{})
	require.Empty(t, problems)
	got := table.Entries()[0].RedirectURL([]byte(in.URL))
	if want.Location == nil {
		require.Nil(t, got)
		return
	}
	require.Equal(t, *want.Location, string(got))
	require.Equal(t, want.Status == 301, w.Rules[0].Redirect.Permanent)
}
