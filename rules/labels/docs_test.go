package labels

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/labels.md explains every label that the tables here know, and no other;
// its examples work as they stand there.

// labelRow is one row of a table in docs/labels.md.
type labelRow struct {
	table    string // what stands above the first column
	labels   []string
	examples map[string]string
}

var codeSpan = regexp.MustCompile("`` (.+?) ``|`([^`]+)`")

func spans(cell string) (list []string) {
	for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
		list = append(list, strings.ReplaceAll(m[1]+m[2], `\|`, "|"))
	}
	return list
}

// labelRows are the tables of a section, from its heading to the next.
func labelRows(t *testing.T, heading string) (rows []labelRow) {
	t.Helper()
	text, err := os.ReadFile("../../docs/labels.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	table := ""
	for line := range strings.Lines(section) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "| ")
		cells := regexp.MustCompile(` \| `).Split(strings.TrimSuffix(line, " |"), -1)
		switch {
		case !isRow:
			if !strings.HasPrefix(line, "|") {
				table = ""
			}
		case table == "":
			table = cells[0]
		default:
			r := labelRow{table: table, labels: spans(cells[0]), examples: map[string]string{}}
			if len(cells) > 1 {
				for _, e := range spans(cells[1]) {
					key, value, isLabel := strings.Cut(e, "=")
					require.True(t, isLabel, e)
					r.examples[key] = value
				}
			}
			rows = append(rows, r)
		}
	}
	require.NotEmpty(t, rows, heading)
	return rows
}

// explained are the labels of the tables with that heading, sorted.
func explained(rows []labelRow, table string) (labels []string) {
	for _, r := range rows {
		if r.table == table {
			labels = append(labels, r.labels...)
		}
	}
	slices.Sort(labels)
	return labels
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func TestDocs_EveryOwnLabel(t *testing.T) {
	var want []string
	for _, k := range ownRuleNames {
		want = append(want, "lb.<rule>."+k)
	}
	for _, k := range ownRuleMaps {
		want = append(want, "lb.<rule>."+k+"<field>")
	}
	for _, k := range ownServiceNames {
		want = append(want, "lb."+k)
	}
	require.Equal(t, sorted(want), explained(labelRows(t, "## Own labels"), "label"))
	want = append([]string{"lb.enable", "traefik.enable"}, platformLabels...)
	require.Equal(t, sorted(want), explained(labelRows(t, "## About the whole container"), "label"))
}

func TestDocs_EveryTraefik1Label(t *testing.T) {
	of := func(m meaning) (names []string) {
		for name, is := range meanings1 {
			if is == m {
				names = append(names, "traefik."+name)
			}
		}
		for _, n := range named1 {
			for _, after := range n.after {
				if n.meaning == m {
					names = append(names, "traefik."+n.before+"<name>"+after)
				}
			}
		}
		return sorted(names)
	}
	rows := labelRows(t, "## Traefik 1")
	require.Equal(t, of(understood), explained(rows, "label"))
	require.Equal(t, of(unsupported), explained(rows, "no effect"))
	require.Equal(t, of(protection), explained(rows, "refused"))
	require.Equal(t, of(elsewhere), explained(rows, "passed over"))
}

func TestDocs_EveryTraefik3Label(t *testing.T) {
	var want, got []string
	for group, known := range elementKinds {
		for _, f := range known {
			name := strings.TrimSuffix("traefik."+group+".<name>."+f.name, ".")
			if f.kind == kindMapping {
				name += ".<name>"
			}
			want = append(want, name)
		}
	}
	for _, r := range labelRows(t, "## Traefik 2 and 3") {
		for _, label := range r.labels {
			got = append(got, strings.Replace(label, ".<field>", ".<name>", 1))
		}
	}
	require.Equal(t, sorted(want), sorted(got))
}

func TestDocs_ExamplesWork(t *testing.T) {
	count := 0
	for _, heading := range []string{"## About the whole container", "## Own labels", "## Traefik 1", "## Traefik 2 and 3"} {
		for _, r := range labelRows(t, heading) {
			if r.table != "label" {
				continue
			}
			count++
			require.NotEmpty(t, r.examples, r.labels)
			s := &Subject{Name: "blog", Service: "blog", Group: "blog", Origin: "container blog", Labels: r.examples, Ports: []uint16{80}}
			for label := range r.examples {
				s.Swarm = s.Swarm || strings.Contains(label, "swarm")
			}
			if s.Swarm && s.Labels["traefik.port"] == "" {
				s.Labels["lb.target_port"] = "80"
			}
			require.Empty(t, Decode(s, &DefaultOptions).Problems, "%v", r.examples)
		}
	}
	require.Greater(t, count, 140)
}

// What is without effect is named in a problem, and what protects is refused.
func TestDocs_WhatIsNotSupportedDoesWhatIsSaid(t *testing.T) {
	value := func(label string) string {
		for group, known := range elementKinds {
			_, path, found := strings.Cut(label, "traefik."+group+".x.")
			f, _, ok := known.find(path)
			if !found || !ok {
				continue
			}
			switch f.kind {
			case kindNumber, kindDuration:
				return "1"
			case kindFlag, kindSection:
				return "true"
			}
		}
		return "GET"
	}
	names := strings.NewReplacer("<name>", "x", "[]", "[0]")
	for _, r := range labelRows(t, "## Traefik 2 and 3") {
		for _, label := range r.labels {
			label = names.Replace(label)
			s := &Subject{Name: "blog", Service: "blog", Group: "blog", Origin: "container blog", Ports: []uint16{80}, Labels: map[string]string{
				label: value(label), "traefik.http.routers.x.rule": "Host(`a`)",
			}}
			if strings.HasPrefix(label, "traefik.http.middlewares.") {
				s.Labels["traefik.http.routers.x.middlewares"] = "x"
			}
			if strings.Contains(label, ".healthCheck.") { // without a path there is no check
				s.Labels["traefik.http.services.x.loadbalancer.healthcheck.path"] = "/"
			}
			w := Decode(s, &DefaultOptions)
			refused := len(w.Rules) == 1 && w.Rules[0].Refuse != ""
			switch r.table {
			case "refused":
				require.True(t, refused, label)
			case "no effect":
				require.False(t, refused, "%s: %+v", label, w.Problems)
				require.NotEmpty(t, w.Problems, label)
			case "later":
				require.NotEmpty(t, w.Problems, label)
			}
		}
	}
}
