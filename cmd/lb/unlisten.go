package main

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"arzur.net/lb/configs"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

// compile makes a Table of v. Rules of labels that want the admin listener's port
// are left out: whoever starts a container must not end the load balancer.
func (s *server) compile(v *view, config *configs.Config) (*rules.Table, []rules.Problem) {
	var rejected []rules.Problem
	in := v.Input
	in.Rules = slices.DeleteFunc(slices.Clone(v.Rules), func(r rules.Rule) bool {
		taken := takes(config.Admin.Address, r.Listen()) && !isOfFile(&r, config)
		if taken {
			rejected = append(rejected, rules.Problem{
				Origin: r.Origin, Rule: r.Title(), Fatal: true,
				Reason: fmt.Sprintf("port %d is the admin listener's, %s; choose another of the two", r.Port, config.Admin.Address),
			})
		}
		return taken
	})
	table, problems := rules.Compile(in, s.registry)
	return table, append(rejected, problems...)
}

// isOfFile says whether the operator wrote the rule, so that nothing but all or
// nothing will do.
func isOfFile(r *rules.Rule, config *configs.Config) bool {
	return slices.ContainsFunc(config.Rules, func(f rules.Rule) bool { return f.Origin == r.Origin })
}

// leaveOut takes out of v those rules of labels whose listener cannot be opened.
// It is false when there is nothing that could be left out.
func (s *server) leaveOut(v *view, config *configs.Config, err error) ([]rules.Problem, bool) {
	var failed *proxy.ListenError
	if !errors.As(err, &failed) {
		return nil, false
	}
	var out []rules.Problem
	var rest []rules.Rule
	for _, r := range v.Rules {
		if r.Listen().Socket() != failed.Listen.Socket() {
			rest = append(rest, r)
			continue
		}
		if isOfFile(&r, config) {
			return nil, false
		}
		out = append(out, rules.Problem{Origin: r.Origin, Rule: r.Title(), Reason: err.Error(), Fatal: true})
	}
	v.Rules = rest
	return out, len(out) > 0
}

// located puts before err, if it is about a listener, where the first rule stands
// that wants it.
func located(err error, t *rules.Table) error {
	var failed *proxy.ListenError
	if !errors.As(err, &failed) {
		return err
	}
	for _, e := range t.Entries() {
		if e.Listen == failed.Listen {
			return fmt.Errorf("%s: %w", e.Rule.Origin, err)
		}
	}
	return err
}

// retryListeners tries again what could not be opened.
func (s *server) retryListeners() {
	if !s.partial {
		return
	}
	if err := s.apply(s.view); err != nil {
		s.log.Warn("open listeners again", zap.Error(err))
	}
}
