package labels

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// FuzzDecode: whatever the labels say, Decode ends, gives the same answer twice,
// leaves its input alone, and makes only rules that Compile can read or refuse.
func FuzzDecode(f *testing.F) {
	f.Add("lb.hostname=arzur.net\nlb.target_port=80", "")
	f.Add("traefik.backend=cdn\ntraefik.frontend.rule=Host:alderaan;PathPrefixStrip:/cdn/\ntraefik.port=80", "tag==a")
	f.Add("traefik.http.routers.x.rule=Host(`x`)\ntraefik.http.routers.x.middlewares=m\ntraefik.http.middlewares.m.chain.middlewares=m", "")
	f.Add("traefik.http.middlewares.r.redirectscheme.scheme=https\ntraefik.http.routers.r.middlewares=r\ntraefik.http.services.s.loadbalancer.healthcheck.headers.X=\x00", "!Label(`a`, `b`)")
	f.Add("traefik.http.services.w.weighted.services[0].name=s\ntraefik.http.routers.r.service=w\ntraefik.docker.network=n", "LabelRegex(`a`, `b`)")
	f.Add("traefik.http.routers.x.rule=!Host(`a`, `{b:[a-z]+}`) || (Headers(`c`, \"d\"))\ntraefik.http.routers.x.rulesyntax=v2\nlb.allow=x", "")
	f.Fuzz(func(t *testing.T, lines, constraints string) {
		s := subject(lines)
		before := maps.Clone(s.Labels)
		o := DefaultOptions
		o.Constraints = constraints
		o.Shared = Share([]*Subject{s}, &o)
		w := Decode(s, &o)
		require.Equal(t, w, Decode(s, &o))
		require.Equal(t, before, s.Labels)
		require.True(t, w.Hidden == "" || len(w.Rules)+len(w.Groups) == 0)
		in := rules.Input{Rules: w.Rules}
		for _, g := range w.Groups {
			in.Services = append(in.Services, g.Service)
		}
		for _, p := range w.Problems {
			require.True(t, strings.HasPrefix(p.Origin, s.Origin), p.Origin)
			require.NotEmpty(t, p.Reason)
		}
		for _, r := range w.Rules {
			require.NotZero(t, r.Port)
			require.True(t, r.Service != "" || r.Redirect != nil || r.Refuse != "", "%+v", r)
		}
		rules.Compile(in, rules.NoBackends{})
	})
}
