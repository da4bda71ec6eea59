package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// labelsOf turns the tags and the meta of an instance into labels.
func (c *ConsulConfig) labelsOf(s *api.AgentService) map[string]string {
	labels := make(map[string]string, len(s.Tags)+len(s.Meta))
	for key, value := range s.Meta {
		labels[c.metaLabel(key)] = value
	}
	for _, tag := range s.Tags {
		if strings.HasPrefix(tag, "urlprefix-") {
			labels[tag] = ""
			continue
		}
		key, value, _ := strings.Cut(tag, "=")
		labels[c.ownLabel(strings.TrimSpace(key))] = strings.TrimSpace(value)
	}
	return labels
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
	return tag == prefix || strings.HasPrefix(tag, prefix+".") ||
		strings.HasPrefix(tag, "traefik.") || strings.HasPrefix(tag, "urlprefix-")
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
	return strings.HasPrefix(label, "lb.") || strings.HasPrefix(label, "traefik.") || strings.HasPrefix(label, "urlprefix-")
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
