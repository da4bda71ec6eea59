package labels

import (
	"slices"
	"strings"
)

// meaning says what becomes of a property.
type meaning uint8

const (
	understood  meaning = iota
	elsewhere           // for platforms that are not containers
	unsupported         // without it the rule still works
	protection          // without it the rule would let in who should stay out
)

// meanings1 are the properties of Traefik 1. A name that ends with a dot begins
// properties with one more word, then those of meanings1Below.
var meanings1 = func() map[string]meaning {
	all := make(map[string]meaning)
	for m, names := range map[meaning]string{
		understood: `port protocol weight backend domain tags frontend.backend frontend.rule frontend.priority frontend.entryPoints
			frontend.passHostHeader frontend.redirect.entryPoint frontend.redirect.regex frontend.redirect.replacement frontend.redirect.permanent
			frontend.headers.customRequestHeaders frontend.headers.customResponseHeaders
			frontend.headers.frameDeny frontend.headers.customFrameOptionsValue frontend.headers.browserXSSFilter
			frontend.headers.customBrowserXSSValue frontend.headers.contentTypeNosniff frontend.headers.contentSecurityPolicy
			frontend.headers.referrerPolicy frontend.headers.STSSeconds frontend.headers.STSIncludeSubdomains frontend.headers.STSPreload
			frontend.headers.forceSTSHeader frontend.headers.isDevelopment frontend.headers.SSLRedirect frontend.headers.SSLTemporaryRedirect
			frontend.headers.SSLHost
			backend.loadbalancer.method backend.loadbalancer.swarm
			backend.healthcheck.path backend.healthcheck.interval backend.healthcheck.port backend.healthcheck.scheme
			backend.healthcheck.hostname backend.healthcheck.headers`,
		elsewhere: `portIndex portName backend.id`,
		unsupported: `backend.loadbalancer.stickiness backend.loadbalancer.stickiness.cookieName backend.loadbalancer.stickiness.secure
			backend.loadbalancer.stickiness.httpOnly backend.loadbalancer.stickiness.sameSite backend.loadbalancer.sticky
			backend.circuitbreaker.expression backend.maxconn.amount backend.maxconn.extractorfunc
			backend.buffering.maxRequestBodyBytes backend.buffering.memRequestBodyBytes backend.buffering.maxResponseBodyBytes
			backend.buffering.memResponseBodyBytes backend.buffering.retryExpression backend.responseForwarding.flushInterval
			frontend.headers.SSLForceHost frontend.headers.SSLProxyHeaders frontend.headers.hostsProxyHeaders frontend.headers.publicKey`,
		protection: `frontend.auth.basic frontend.auth.basic.users frontend.auth.basic.usersFile frontend.auth.basic.removeHeader
			frontend.auth.digest.users frontend.auth.digest.usersFile frontend.auth.digest.removeHeader
			frontend.auth.forward.address frontend.auth.forward.trustForwardHeader frontend.auth.forward.authResponseHeaders
			frontend.auth.forward.tls.ca frontend.auth.forward.tls.caOptional frontend.auth.forward.tls.cert frontend.auth.forward.tls.key
			frontend.auth.forward.tls.insecureSkipVerify frontend.auth.headerField
			frontend.whiteList.sourceRange frontend.whiteList.useXForwardedFor frontend.whitelistSourceRange
			frontend.rateLimit.extractorFunc frontend.headers.allowedHosts
			frontend.passTLSCert frontend.passTLSClientCert.pem frontend.passTLSClientCert.infos.notBefore
			frontend.passTLSClientCert.infos.notAfter frontend.passTLSClientCert.infos.sans`,
	} {
		for name := range strings.FieldsSeq(names) {
			all[name] = m
		}
	}
	for name := range strings.FieldsSeq("commonName country domainComponent locality organization province serialNumber") {
		all["frontend.passTLSClientCert.infos.subject."+name] = protection
		all["frontend.passTLSClientCert.infos.issuer."+name] = protection
	}
	return all
}()

// named1 are properties with a name of the user's in the middle.
var named1 = []struct {
	before string
	after  []string
	meaning
}{
	{"frontend.errors.", []string{".status", ".backend", ".query"}, unsupported},
	{"frontend.rateLimit.rateSet.", []string{".period", ".average", ".burst"}, protection},
}

// meaning1 is what becomes of a property; it is not known when there is none of that name.
func meaning1(property string) (m meaning, known bool) {
	if m, known = meanings1[property]; known {
		return m, true
	}
	for _, n := range named1 {
		rest, found := strings.CutPrefix(property, n.before)
		i := strings.LastIndexByte(rest, '.')
		if found && i > 0 && slices.Contains(n.after, rest[i:]) {
			return n.meaning, true
		}
	}
	return 0, false
}
