package main

import (
	"fmt"
	"reflect"
	"slices"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

// ruleKey tells rules apart from one Table to the next.
type ruleKey struct {
	listen rules.Listen
	match  string
}

// ruleFacts is what a log line says of a rule, and what a change is a change of.
type ruleFacts struct {
	rule    rules.Rule // without its origin, which moves when lines are added above
	servers []string
	origin  string
}

func (f *ruleFacts) same(o *ruleFacts) bool {
	return slices.Equal(f.servers, o.servers) && reflect.DeepEqual(f.rule, o.rule)
}

// book is the rules in use, for the log of what changes.
type book map[ruleKey]*ruleFacts

// logChanges logs each rule of t that b does not have alike, and those that are
// no more. It returns the book of t.
func (b book) logChanges(t *rules.Table, log *zap.Logger) book {
	next := make(book, len(t.Entries()))
	for _, e := range t.Entries() {
		key, facts := ruleKey{e.Listen, e.Match()}, factsOf(e)
		next[key] = facts
		if old := b[key]; old == nil {
			log.Info("rule added", facts.fields(key)...)
		} else if !old.same(facts) {
			log.Info("rule changed", facts.fields(key)...)
		}
	}
	for key, facts := range b {
		if next[key] == nil {
			log.Info("rule removed", facts.fields(key)...)
		}
	}
	return next
}

func factsOf(e *rules.Entry) *ruleFacts {
	f := &ruleFacts{rule: *e.Rule, origin: e.Rule.Origin}
	f.rule.Origin = ""
	if e.Pool == nil {
		return f
	}
	for _, t := range e.Pool.Targets {
		text := t.Backend.Addr.String()
		if t.Weight != 1 {
			text += fmt.Sprintf(" weight %d", t.Weight)
		}
		if t.Backup {
			text += " backup"
		}
		f.servers = append(f.servers, text)
	}
	return f
}

func (f *ruleFacts) fields(key ruleKey) []zap.Field {
	fields := []zap.Field{
		zap.String("rule", f.rule.Name), zap.Stringer("listener", key.listen), zap.String("match", key.match),
	}
	if f.rule.Redirect != nil {
		fields = append(fields, zap.Stringer("redirect", f.rule.Redirect))
	} else {
		fields = append(fields, zap.String("service", f.rule.Service), zap.Strings("servers", f.servers))
	}
	return append(fields, zap.String("origin", f.origin))
}

// logProblems logs those problems that are not in known, and returns the texts
// of all.
func logProblems(problems []rules.Problem, known map[string]bool, log *zap.Logger) map[string]bool {
	next := make(map[string]bool, len(problems))
	for i := range problems {
		p := &problems[i]
		text := problemError(p).Error()
		next[text] = true
		if known[text] {
			continue
		}
		fields := []zap.Field{zap.String("origin", p.Origin), zap.String("reason", p.Reason)}
		if p.Rule != "" {
			fields = append(fields, zap.String("rule", p.Rule))
		}
		if p.Other != "" {
			fields = append(fields, zap.String("other", p.Other))
		}
		if p.Fatal {
			log.Error("rejected", fields...)
		} else {
			log.Warn("taken with a warning", fields...)
		}
	}
	return next
}
