package labels

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// What is meant for requests over TLS, or for those that are not, goes by the
// protocol of the port, not by its number.
func TestLabels_ByTheProtocolOfThePort(t *testing.T) {
	o := DefaultOptions
	o.EntryPoints = map[string]uint16{"web": 8080, "websecure": 8443}
	f := func(want map[string]string, labels ...string) {
		t.Helper()
		w := Decode(blog(labelMap(labels...)), &o)
		require.Empty(t, w.Problems)
		got := map[string]string{}
		for _, r := range w.Rules {
			what := ""
			for _, field := range r.ResponseHeaders.Set {
				what += field.Name + ": " + field.Value
			}
			if r.Redirect != nil {
				what += r.Redirect.String()
			}
			got[rules.Listen{Port: r.Port, Protocol: r.Protocol}.String()] = what
		}
		require.Equal(t, want, got)
	}
	const field = "Strict-Transport-Security: max-age=60"
	f(map[string]string{"*:8080": "", "*:8443/https": field},
		"traefik.http.routers.r.rule=Host(`a`)", "traefik.http.routers.r.entrypoints=web,websecure",
		"traefik.http.routers.r.middlewares=m", "traefik.http.middlewares.m.headers.stsseconds=60")
	f(map[string]string{"*:8080": field, "*:8443/https": field},
		"traefik.http.routers.r.rule=Host(`a`)", "traefik.http.routers.r.entrypoints=web,websecure",
		"traefik.http.routers.r.middlewares=m", "traefik.http.middlewares.m.headers.stsseconds=60",
		"traefik.http.middlewares.m.headers.forcestsheader=true")
	f(map[string]string{"*:8080": "redirect 301 https://{host}{path}", "*:8443/https": field},
		"traefik.frontend.rule=Host:a", "traefik.frontend.entryPoints=web,websecure",
		"traefik.frontend.headers.STSSeconds=60", "traefik.frontend.headers.SSLRedirect=true")
}
