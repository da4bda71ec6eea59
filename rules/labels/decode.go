package labels

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"arzur.net/lb/rules"
)

// Decode says what the labels of one Subject ask for. Which dialect a label
// belongs to is decided label by label; every dialect that the Subject speaks
// makes its own rules, and a Subject that speaks none gets the default rule.
// It changes neither s nor o.
func Decode(s *Subject, o *Options) Wants {
	var w Wants
	opts := o.withDefaults()
	if w.Hidden = hidden(s, &opts, &w); w.Hidden != "" {
		return w
	}
	decodePlatform(s, &w)
	decodeOwn(s, &opts, &w)
	if slices.ContainsFunc(s.sortedKeys(), routesTraefik1) {
		decodeTraefik1(s, &opts, &w)
	}
	decodeTraefik3(s, &opts, &w)
	decodeFabio(s, &opts, &w)
	if len(w.Rules) == 0 && len(w.Groups) == 0 && !w.rejected() && !onlyOtherProtocols(s) {
		g := Group{Service: rules.Service{Name: s.Service, Origin: s.Origin}, Scheme: "http", PortLabel: ownPrefix + "target_port"}
		w.Groups = append(w.Groups, g)
		addDefaultRule(s, &opts, &w, g.Service.Name)
	}
	checkRoots(s, &w)
	w.refuse()
	return w
}

// routesTraefik1: two labels of Traefik 1 only feed the constraints and the default
// rule, in Traefik 3 too.
func routesTraefik1(key string) bool {
	return isTraefik1(key) && key != "traefik.tags" && key != "traefik.domain"
}

// withDefaults is a copy of o with every default filled in; o may be nil.
func (o *Options) withDefaults() Options {
	if o == nil {
		return DefaultOptions
	}
	opts := *o
	if opts.EntryPoints == nil {
		opts.EntryPoints = DefaultOptions.EntryPoints
	}
	opts.DefaultEntryPoint = cmp.Or(opts.DefaultEntryPoint, DefaultOptions.DefaultEntryPoint)
	return opts
}

// Validate says what about the Options cannot work for any Subject.
func (o *Options) Validate() error {
	opts := o.withDefaults()
	if _, err := parseConstraints(opts.Constraints); err != nil {
		return fmt.Errorf("constraints %q: %w", opts.Constraints, err)
	}
	if _, err := defaultExpr(&Subject{Name: "name", Service: "name"}, &opts); err != nil {
		return fmt.Errorf("default_rule %q: %w", opts.DefaultRule, err)
	}
	if !slices.Contains([]string{"", syntax2, "v3"}, opts.RuleSyntax) {
		return fmt.Errorf("default_rule_syntax %q: want v3 or v2", opts.RuleSyntax)
	}
	if _, ok := opts.EntryPoints[opts.DefaultEntryPoint]; !ok {
		known := slices.Sorted(maps.Keys(opts.EntryPoints))
		return fmt.Errorf("default entry point %q: it is not among entry_points, which are %s", opts.DefaultEntryPoint, strings.Join(known, ", "))
	}
	return nil
}

// mentions says whether the configuration itself reads a label, which may have any name then.
func (o *Options) mentions(key string) bool {
	return strings.Contains(o.Constraints, key) || strings.Contains(o.DefaultRule, key)
}

// sortedKeys are the names of the labels, so that every walk over them is in one order.
func (s *Subject) sortedKeys() []string { return slices.Sorted(maps.Keys(s.Labels)) }

// isShared says whether Decode itself handles a label, whatever the dialect of the rest.
func isShared(key string) bool {
	switch key {
	case "lb.enable", "lb.network", "lb.swarm.vip":
		return true
	}
	lower := strings.ToLower(key)
	return strings.HasPrefix(key, "traefik.") &&
		(lower == "traefik.enable" || strings.HasPrefix(lower, "traefik.docker.") || strings.HasPrefix(lower, "traefik.swarm.") ||
			strings.HasPrefix(lower, "traefik.consulcatalog."))
}

// hidden says why the Subject is not exposed, "" if it is.
func hidden(s *Subject, o *Options, w *Wants) string {
	label, exposed, err := exposure(s, o, w)
	if err != nil {
		// Exposing what somebody meant to hide is the worse mistake.
		w.reject(s, label, "", "%s; it stays hidden until that is clear", err)
		return "label " + label + ": " + err.Error()
	}
	if !exposed && label == "" {
		return "nothing is exposed by default, and no label says lb.enable=true"
	}
	if !exposed {
		return "label " + label + "=" + s.Labels[label]
	}
	if key, on := meshed(s); on {
		w.reject(s, key, "", "its servers belong to the service mesh, which lb takes no part in; it stays hidden")
		return "label " + key + "=" + s.Labels[key]
	}
	holds, err := parseConstraints(o.Constraints)
	if err != nil {
		w.reject(s, "", "", "constraints %q: %s; nothing is exposed until that is corrected", o.Constraints, err)
		return "the constraints cannot be read: " + err.Error()
	}
	if !holds(s.Labels) {
		return fmt.Sprintf("the constraints %q do not hold", o.Constraints)
	}
	return ""
}

// meshed says whether a label wants the servers asked as Consul's service mesh asks them.
func meshed(s *Subject) (label string, on bool) {
	for _, key := range s.sortedKeys() {
		if strings.EqualFold(key, "traefik.consulcatalog.connect") {
			on, _ = strconv.ParseBool(strings.TrimSpace(s.Labels[key]))
			return key, on
		}
	}
	return "", false
}

// exposure reads the label that decides about exposure; "" is the name of none.
func exposure(s *Subject, o *Options, w *Wants) (label string, exposed bool, err error) {
	exposed = o.ExposedByDefault
	for _, key := range s.sortedKeys() {
		lower := strings.ToLower(key)
		if key != "lb.enable" && (lower != "traefik.enable" || !strings.HasPrefix(key, "traefik.")) {
			continue
		}
		value, err := strconv.ParseBool(strings.TrimSpace(s.Labels[key]))
		if err != nil {
			return key, false, fmt.Errorf("%q is neither true nor false", s.Labels[key])
		}
		if label != "" && value != exposed {
			w.warn(s, key, "it contradicts %s=%s, which counts", label, s.Labels[label])
			continue
		}
		label, exposed = key, value
	}
	if label != "" {
		return label, exposed, nil
	}
	for _, key := range s.sortedKeys() {
		root, word, _ := strings.Cut(strings.TrimSpace(key), ".")
		if near := meantRoot(root); near != "" && (strings.EqualFold(word, "enable") || len(rules.NearMisses(word, []string{"enable"})) > 0) {
			return key, false, fmt.Errorf("unknown label; did you mean %q?", near+".enable")
		}
	}
	return "", exposed, nil
}

// platformLabels are the shared labels other than those about exposure, in the
// order in which they count.
var platformLabels = []string{
	"lb.network", "lb.swarm.vip",
	"traefik.swarm.network", "traefik.swarm.lbswarm",
	"traefik.docker.network", "traefik.docker.lbswarm", "traefik.docker.allownonrunning",
	"traefik.consulcatalog.canary", "traefik.consulcatalog.connect",
}

// decodePlatform reads what the platform's own code wants to know.
func decodePlatform(s *Subject, w *Wants) {
	written := make(map[string]string) // by name in lower case
	for _, key := range s.sortedKeys() {
		lower := strings.ToLower(key)
		switch {
		case !isShared(key) || lower == "traefik.enable" || lower == "lb.enable":
		case slices.Contains(platformLabels, lower):
			written[lower] = key
		default:
			w.warn(s, key, "unknown label%s", didYouMean(lower, platformLabels))
		}
	}
	network, vip := "", "" // the labels that count
	for _, lower := range platformLabels {
		key, found := written[lower]
		if !found {
			continue
		}
		switch lower {
		case "traefik.docker.allownonrunning":
			w.AllowNonRunning = w.flag(s, key)
		case "traefik.consulcatalog.canary", "traefik.consulcatalog.connect":
			w.flag(s, key) // what is neither true nor false; the Source and hidden read them
		case "lb.network", "traefik.swarm.network", "traefik.docker.network":
			network = w.settle(s, network, key)
			w.Network = s.Labels[network]
		default:
			on := w.flag(s, key)
			if vip = w.settle(s, vip, key); vip == key {
				w.VIP = on
			}
		}
	}
}

// settle decides between two labels about one thing: the one that came first counts.
func (w *Wants) settle(s *Subject, first, key string) string {
	if first != "" && s.Labels[first] != s.Labels[key] {
		w.warn(s, key, "%q contradicts %s=%s, which counts", s.Labels[key], first, s.Labels[first])
	}
	return cmp.Or(first, key)
}

// flag reads a label that is true or false; what is neither is false.
func (w *Wants) flag(s *Subject, key string) bool {
	value, err := strconv.ParseBool(strings.TrimSpace(s.Labels[key]))
	if err != nil {
		w.warn(s, key, "%q is neither true nor false; false counts", s.Labels[key])
	}
	return value
}

// checkRoots reports labels that are meant for us but whose first word is
// misspelt: Traefik itself and all dialects pass over those. One that may
// have been meant to protect takes the rules with it.
func checkRoots(s *Subject, w *Wants) {
	for _, key := range s.sortedKeys() {
		root, rest, found := strings.Cut(key, ".")
		meant := meantRoot(root) + "." + rest
		if !found || key == meant || meant[0] == '.' {
			continue
		}
		reason := fmt.Sprintf("unknown label; did you mean %q? It is written in lower case", meant)
		if mayProtect(meant) {
			w.refuseAll(s, key, reason)
		} else {
			w.warn(s, key, "%s", reason)
		}
	}
}

// meantRoot is the first word that labels for us have, if root may be it; else "".
func meantRoot(root string) string {
	root = strings.TrimSpace(root)
	switch {
	case strings.EqualFold(root, "lb"):
		return "lb"
	case strings.EqualFold(root, "traefik"), len(rules.NearMisses(root, []string{"traefik"})) > 0:
		return "traefik"
	}
	return ""
}
