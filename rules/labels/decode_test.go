package labels

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// subject is a container with labels written one per line: name=value.
func subject(lines string) *Subject {
	s := &Subject{
		Name: "blog-1", Service: "blog-shop", Group: "shop/blog", Project: "shop", Member: "blog",
		Origin: "container blog-1", Labels: make(map[string]string), Ports: []uint16{80},
	}
	for line := range strings.Lines(lines) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			s.Labels[name] = value
		}
	}
	return s
}

// problems are what Decode complains of, one line each: label: reason.
func problems(w Wants) (lines []string) {
	for _, p := range w.Problems {
		line := strings.TrimPrefix(p.Origin, "container blog-1: label ") + ": " + p.Reason
		if p.Fatal {
			line = "! " + line
		}
		lines = append(lines, line)
	}
	return lines
}

func TestDecode_Hidden(t *testing.T) {
	f := func(byDefault bool, lines, want string) {
		t.Helper()
		o := DefaultOptions
		o.ExposedByDefault = byDefault
		w := Decode(subject(lines), &o)
		require.Equal(t, want, w.Hidden)
		require.Equal(t, want == "", len(w.Rules) == 1)
	}
	f(true, "", "")
	f(false, "", "nothing is exposed by default, and no label says lb.enable=true")
	f(false, "lb.enable=true", "")
	f(false, "traefik.Enable=1", "")
	f(true, "traefik.enable=false", "label traefik.enable=false")
	f(true, "lb.enable=0", "label lb.enable=0")
	f(true, "lb.enable=true\ntraefik.enable=false", "")
	f(true, "traefik.enable=flase", `label traefik.enable: "flase" is neither true nor false`)
	f(true, "traefik.enabel=false", `label traefik.enabel: unknown label; did you mean "traefik.enable"?`)
	f(true, "lb.enabled=false", `label lb.enabled: unknown label; did you mean "lb.enable"?`)
	f(true, "Traefik.Enable=false", `label Traefik.Enable: unknown label; did you mean "traefik.enable"?`)
	f(true, "treafik.enable=false", `label treafik.enable: unknown label; did you mean "traefik.enable"?`)
	f(true, "LB.ENABLE=false", `label LB.ENABLE: unknown label; did you mean "lb.enable"?`)
	f(true, "lb.Enable=false", `label lb.Enable: unknown label; did you mean "lb.enable"?`)
}

func TestDecode_Constraints(t *testing.T) {
	o := DefaultOptions
	o.Constraints = "Label(`env`, `prod`)"
	require.Empty(t, Decode(subject("env=prod"), &o).Hidden)
	require.Equal(t, "the constraints \"Label(`env`, `prod`)\" do not hold", Decode(subject(""), &o).Hidden)
	o.Constraints = "Label(`env`)"
	w := Decode(subject("env=prod"), &o)
	require.Contains(t, w.Hidden, "the constraints cannot be read")
	require.Len(t, w.Problems, 1)
	require.ErrorContains(t, o.Validate(), "constraints \"Label(`env`)\": column 1")
}

// Whoever configures a constraint chooses the label, under our own words too.
func TestDecode_LabelsOfTheConfigurationAreKnown(t *testing.T) {
	f := func(constraints, lines string, problem ...string) {
		t.Helper()
		o := DefaultOptions
		o.Constraints = constraints
		w := Decode(subject(lines), &o)
		require.Len(t, w.Rules, 1)
		require.Equal(t, problem, problems(w))
	}
	const router = "traefik.http.routers.x.rule=Host(`x`)\n"
	f("Label(`traefik.constraint-label`, `front`)", router+"traefik.constraint-label=front")
	f("Label(`lb.tier`, `front`)", "lb.tier=front")
	f("LabelRegex(`lb.hostname`, `a`)", "lb.hostname=a")
	f("", router+"traefik.constraint-label=front", "traefik.constraint-label: unknown label")
}

func TestDecode_DefaultRule(t *testing.T) {
	w := Decode(subject("com.docker.compose.service=blog\nio.rancher.stack.name=shop\nfoo=bar"), nil)
	require.Empty(t, w.Problems)
	require.Equal(t, []rules.Rule{{
		Name: "blog-shop", Origin: "container blog-1", Port: 80, Expr: "Host(`blog-shop`)",
		Priority: TraefikPriority(17), Service: "blog-shop",
	}}, w.Rules)
	require.Equal(t, []Group{{
		Service: rules.Service{Name: "blog-shop", Origin: "container blog-1"}, Scheme: "http", PortLabel: "lb.target_port",
	}}, w.Groups)
}

func TestDecode_Platform(t *testing.T) {
	w := Decode(subject("traefik.docker.network=web\ntraefik.docker.lbswarm=true\ntraefik.docker.AllowNonRunning=true"), nil)
	require.Empty(t, w.Problems)
	require.Equal(t, "web", w.Network)
	require.True(t, w.VIP)
	require.True(t, w.AllowNonRunning)

	f := func(lines string, want ...string) {
		t.Helper()
		w := Decode(subject(lines), nil)
		require.Equal(t, want, problems(w))
		require.Len(t, w.Rules, 1)
	}
	f("traefik.docker.netwrok=web", `traefik.docker.netwrok: unknown label; did you mean "traefik.docker.network"?`)
	f("traefik.docker.network=a\nlb.network=b", `traefik.docker.network: "a" contradicts lb.network=b, which counts`)
	f("traefik.docker.network=a\ntraefik.swarm.network=a")
	f("lb.swarm.vip=true\ntraefik.swarm.lbswarm=false", `traefik.swarm.lbswarm: "false" contradicts lb.swarm.vip=true, which counts`)
	f("lb.swarm.vip=yes", `lb.swarm.vip: "yes" is neither true nor false; false counts`)
	f("treafik.http.routers.a.rule=x", `treafik.http.routers.a.rule: unknown label; did you mean "traefik.http.routers.a.rule"? It is written in lower case`)
	f("lb.enable=true\ntraefik.enable=false", "traefik.enable: it contradicts lb.enable=true, which counts")
}

func TestTraefikPriority(t *testing.T) {
	ordered := []int{1<<31 - 1, 1_000_000_001, 1_000_000_000, 999_999_999, 20, 1, 0, -1, -1_000_000_000}
	for i := 1; i < len(ordered); i++ {
		require.Less(t, TraefikPriority(ordered[i-1]), TraefikPriority(ordered[i]))
	}
	for _, p := range ordered {
		require.NotZero(t, TraefikPriority(p))
	}
}

func TestOptions_Validate(t *testing.T) {
	require.NoError(t, (*Options)(nil).Validate())
	require.NoError(t, (&Options{}).Validate())
	o := Options{DefaultEntryPoint: "wbe"}
	require.ErrorContains(t, o.Validate(), `default entry point "wbe": it is not among entry_points, which are http, https, web, websecure`)
}
