package main

import (
	"arzur.net/lb/configs"
	"arzur.net/lb/rules"
)

// untrusted finds the rules that wait for PROXY protocol headers from nobody.
func untrusted(t *rules.Table, c *configs.Config) (found []rules.Problem) {
	if len(c.TrustedProxies) > 0 {
		return nil
	}
	for _, e := range t.Entries() {
		if e.Rule.ProxyIn {
			found = append(found, rules.Problem{Origin: e.Rule.Origin, Rule: e.Rule.Title(),
				Reason: "proxy_protocol: nobody is trusted to send it, so that its header is taken for the client's own bytes; name the proxies in front in trusted_proxies"})
		}
	}
	return found
}
