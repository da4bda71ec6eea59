package discovery

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"arzur.net/lb/rules"
)

// consulQuery is which instances are asked for.
type consulQuery struct {
	name, dc, namespace, partition string
	tags                           string // all of which they bear, joined by "&tag="
}

// String is the query as logs and problems name it: service blog@dc2?tag=v2.
func (q consulQuery) String() string {
	text := "service " + q.name
	if q.dc != "" {
		text += "@" + q.dc
	}
	var params []string
	for _, p := range [][2]string{{"ns", q.namespace}, {"partition", q.partition}, {"tag", q.tags}} {
		if p[1] != "" {
			params = append(params, p[0]+"="+p[1])
		}
	}
	if len(params) > 0 {
		text += "?" + strings.Join(params, "&")
	}
	return text
}

// tagSeparator stands between tags; it is not part of any.
const tagSeparator = "&tag="

// consulWish is a service as a rule names it.
type consulWish struct {
	name  string
	query consulQuery
}

// parseWishes reads NAME[@DATACENTER][?tag=T&ns=N&partition=P] behind ConsulPrefix.
func parseWishes(names []string) (wishes []consulWish, problems []rules.Problem) {
	for _, name := range names {
		q, err := parseWish(strings.TrimPrefix(name, ConsulPrefix))
		if err != nil {
			problems = append(problems, rules.Problem{Origin: name, Fatal: true, Reason: err.Error()})
			continue
		}
		wishes = append(wishes, consulWish{name, q})
	}
	return wishes, problems
}

func parseWish(text string) (consulQuery, error) {
	service, params, _ := strings.Cut(text, "?")
	var q consulQuery
	q.name, q.dc, _ = strings.Cut(service, "@")
	if q.name == "" {
		return q, errors.New("want consul:NAME, consul:NAME@DATACENTER or consul:NAME?tag=TAG")
	}
	values, err := url.ParseQuery(params)
	if err != nil {
		return q, fmt.Errorf("behind the question mark: %w", err)
	}
	for key, list := range values {
		switch key {
		case "tag":
			slices.Sort(list)
			q.tags = strings.Join(slices.Compact(list), tagSeparator)
		case "ns":
			q.namespace = list[0]
		case "partition":
			q.partition = list[0]
		default:
			return q, fmt.Errorf("unknown %q; want tag, ns or partition%s", key, nearest(key, "tag", "ns", "partition"))
		}
	}
	return q, nil
}

func nearest(word string, known ...string) string {
	if near := rules.NearMisses(word, known); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}
