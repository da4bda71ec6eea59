package labels

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A label of which not even the first word is understood may have been what keeps
// strangers out.
func TestDecode_MisspeltRootsAreNamed(t *testing.T) {
	f := func(refused bool, label, problem string, more ...string) {
		t.Helper()
		w := decoded(append(more, label+"=x")...)
		require.Len(t, w.Rules, 1, "%+v", w)
		require.Equal(t, refused, w.Rules[0].Refuse != "")
		last := w.Problems[len(w.Problems)-1]
		require.Equal(t, "container blog-1: label "+label, last.Origin)
		require.Contains(t, last.Reason, problem)
		require.Equal(t, refused, last.Fatal)
	}
	router, frontend := "traefik.http.routers.web.rule=Host(`a`)", "traefik.frontend.rule=Host:a"
	f(false, "LB.path", `did you mean "lb.path"?`)
	f(false, "treafik.http.routers.web.priority", `did you mean "traefik.http.routers.web.priority"?`, router)
	f(false, "Traefik.http.routers.auth.rule", `did you mean "traefik.http.routers.auth.rule"?`, router)
	f(false, "treafik.http.middlewares.m.basicauth.users", `did you mean "traefik.http.middlewares.m.basicauth.users"?`, router)
	f(true, "treafik.http.routers.web.middlewares", `did you mean "traefik.http.routers.web.middlewares"?`, router)
	f(true, "treafik.http.routers.web.middleware", "may be meant to protect", router)
	f(true, "treafik.frontend.auth.basic.users", "the rules answer 503", frontend)
	f(true, "treafik.frontend.whiteList.sourceRange", "the rules answer 503", frontend)
	f(true, "traefik.http.router.web.middlewares", `did you mean "http.routers"?; the rules answer 503`, router)
}

func TestDecode_StrayLabelsThatProtectNothing(t *testing.T) {
	w := decoded("traefik.http.routers.web.rule=Host(`a`)", "traefik.http.router.web.priority=1")
	require.Len(t, w.Rules, 1)
	require.Empty(t, w.Rules[0].Refuse)
	require.True(t, w.Problems[0].Fatal)
}
