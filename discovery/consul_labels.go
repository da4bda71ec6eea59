package discovery

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules"
)

// fabioPrefix begins the tags of fabio, which are whole labels, without a value.
const fabioPrefix = "urlprefix-"

// labelsOf turns the tags and the meta of an instance into labels.
func (c *ConsulConfig) labelsOf(e *api.ServiceEntry) map[string]string {
	labels := make(map[string]string, len(e.Service.Tags)+len(e.Service.Meta))
	for key, value := range e.Service.Meta {
		if strings.HasPrefix(key, fabioPrefix) {
			labels[inDatacenter(fabioPrefix+value, e.Node.Datacenter)] = ""
		} else {
			labels[c.metaLabel(key)] = value
		}
	}
	for _, tag := range e.Service.Tags {
		tag = strings.TrimSpace(tag)
		if strings.HasPrefix(tag, fabioPrefix) {
			labels[inDatacenter(tag, e.Node.Datacenter)] = ""
			continue
		}
		key, value, _ := strings.Cut(tag, "=")
		labels[c.ownLabel(strings.TrimSpace(key))] = strings.TrimSpace(value)
	}
	return labels
}

// inDatacenter is a tag of fabio with the name of the datacenter where its host or
// path says $DC.
func inDatacenter(tag, dc string) string {
	source, options, _ := strings.Cut(tag, " ")
	if !strings.Contains(source, "$") || dc == "" {
		return tag
	}
	source = os.Expand(source, func(name string) string {
		if name == "DC" {
			return dc
		}
		return "$" + name // in a path it may mean itself
	})
	return strings.TrimSpace(source + " " + options)
}

// canaryLabel keeps an instance out of the service of those without it.
const canaryLabel = "traefik.consulcatalog.canary"

// canaryName is what Traefik calls the service of the instances with exactly these
// labels, which have it to themselves; "" if they are no canaries.
func canaryName(service string, labels map[string]string) string {
	canary := false
	var tags []string
	for key, value := range labels {
		if strings.EqualFold(key, canaryLabel) {
			canary, _ = strconv.ParseBool(strings.TrimSpace(value)) // Decode says what is neither
		}
		if asks(key) {
			tags = append(tags, key+"="+value)
		}
	}
	if !canary {
		return ""
	}
	slices.Sort(tags)
	sum := fnv.New64()
	_, _ = sum.Write([]byte(strings.Join(tags, ""))) // never fails
	return fmt.Sprint(service, "-", sum.Sum64())
}

// ownLabel is a label with our own prefix for the one that the operator chose.
func (c *ConsulConfig) ownLabel(key string) string {
	prefix := cmp.Or(c.TagPrefix, DefaultConsul.TagPrefix)
	switch rest, own := strings.CutPrefix(key, prefix+"."); {
	case own:
		return "lb." + rest
	case prefix != "lb" && strings.HasPrefix(key, "lb."):
		return "other." + key // of another lb
	}
	return key
}

// metaLabel is the label that a key of the meta stands for. Consul allows no dots
// there, so that dashes take their place: lb-blog-hostname.
func (c *ConsulConfig) metaLabel(key string) string {
	for _, root := range []string{cmp.Or(c.TagPrefix, DefaultConsul.TagPrefix), "traefik"} {
		if strings.HasPrefix(key, root+"-") {
			return c.ownLabel(strings.ReplaceAll(key, "-", "."))
		}
	}
	return c.ownLabel(key)
}

// routes says whether a tag asks for requests. The bare prefix says that the
// meta does, which the catalog does not list.
func (c *ConsulConfig) routes(tag string) bool {
	prefix := cmp.Or(c.TagPrefix, DefaultConsul.TagPrefix)
	tag = strings.TrimSpace(tag)
	return tag == prefix || strings.HasPrefix(tag, prefix+".") ||
		strings.HasPrefix(tag, "traefik.") || strings.HasPrefix(tag, fabioPrefix)
}

// misspelt are the tags of the catalog that would ask for requests in lower case:
// nobody reads them, which else would show nowhere.
func (c *ConsulConfig) misspelt(services map[string][]string) (problems []rules.Problem) {
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for _, tag := range services[name] {
			lower := strings.ToLower(tag)
			root := len(lower) - len(strings.TrimLeft(lower, "abcdefghijklmnopqrstuvwxyz")) + 1
			if root >= min(len(tag), len(lower)) || tag[:root] == lower[:root] || !c.routes(lower[:root]) {
				continue
			}
			problems = append(problems, rules.Problem{
				Origin: "consul service " + name,
				Reason: fmt.Sprintf("tag %q is not read; did you mean %q? It is written in lower case", tag, lower[:root]+tag[root:]),
			})
		}
	}
	return problems
}

// labelled says whether labels ask for anything, which exposes who bears them.
func labelled(labels map[string]string) bool {
	for key := range labels {
		if asks(key) {
			return true
		}
	}
	return false
}

func asks(label string) bool {
	return strings.HasPrefix(label, "lb.") || strings.HasPrefix(label, "traefik.") || strings.HasPrefix(label, fabioPrefix)
}

// labelText is those of the labels as one text that make a difference: constraints
// and templates may look at any.
func (c *ConsulConfig) labelText(labels map[string]string) string {
	all := c.Labels.Constraints != "" || c.Labels.DefaultRule != ""
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !all && !asks(key) {
			continue
		}
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(labels[key])
		b.WriteByte(0)
	}
	return b.String()
}
