package labels

import "strings"

// The tables below are Traefik's documented labels, by kind of element. What is
// not in them is misspelt; what is in them and not read by the code is known but
// not supported yet.

var tlsFields = []string{"tls.certResolver", "tls.options", "tls.domains[].main"}

var httpRouterFields = fieldsOf(map[kind][]string{
	kindText:    append([]string{"rule", "ruleSyntax", "service", "observability.traceVerbosity"}, tlsFields...),
	kindList:    {"entryPoints", "middlewares", "tls.domains[].sans"},
	kindNumber:  {"priority"},
	kindFlag:    {"observability.accessLogs", "observability.metrics", "observability.tracing"},
	kindSection: {"tls"},
})

var httpServiceFields = fieldsOf(map[kind][]string{
	kindText: {
		"loadBalancer.server.scheme", "loadBalancer.server.url", "loadBalancer.strategy", "loadBalancer.serversTransport",
		"loadBalancer.sticky.cookie.name", "loadBalancer.sticky.cookie.sameSite", "loadBalancer.sticky.cookie.path", "loadBalancer.sticky.cookie.domain",
		"loadBalancer.healthCheck.path", "loadBalancer.healthCheck.mode", "loadBalancer.healthCheck.scheme",
		"loadBalancer.healthCheck.method", "loadBalancer.healthCheck.hostname",
		"loadBalancer.responseForwarding.flushInterval", // negative ones are allowed
		"weighted.services[].name",
	},
	kindNumber: {
		"loadBalancer.server.port", "loadBalancer.server.weight", "loadBalancer.sticky.cookie.maxAge",
		"loadBalancer.healthCheck.port", "loadBalancer.healthCheck.status", "loadBalancer.passiveHealthCheck.maxFailedAttempts",
		"weighted.services[].weight",
	},
	kindFlag: {
		"loadBalancer.passHostHeader", "loadBalancer.server.preservePath", "loadBalancer.healthCheck.followRedirects",
		"loadBalancer.sticky.cookie.secure", "loadBalancer.sticky.cookie.httpOnly",
	},
	kindDuration: {
		"loadBalancer.healthCheck.interval", "loadBalancer.healthCheck.unhealthyInterval", "loadBalancer.healthCheck.timeout",
		"loadBalancer.passiveHealthCheck.failureWindow",
	},
	kindList:    {"middlewares"},
	kindMapping: {"loadBalancer.healthCheck.headers"},
	kindSection: {"loadBalancer.sticky", "loadBalancer.sticky.cookie", "loadBalancer.healthCheck", "loadBalancer.passiveHealthCheck"},
})

var tcpRouterFields = fieldsOf(map[kind][]string{
	kindText:    append([]string{"rule", "ruleSyntax", "service"}, tlsFields...),
	kindList:    {"entryPoints", "middlewares", "tls.domains[].sans"},
	kindNumber:  {"priority"},
	kindFlag:    {"tls.passthrough"},
	kindSection: {"tls"},
})

var tcpServiceFields = fieldsOf(map[kind][]string{
	kindText: {"loadBalancer.serversTransport", "loadBalancer.healthCheck.send", "loadBalancer.healthCheck.expect"},
	kindNumber: {
		"loadBalancer.server.port", "loadBalancer.terminationDelay", "loadBalancer.proxyProtocol.version",
		"loadBalancer.healthCheck.port",
	},
	kindFlag:     {"loadBalancer.server.tls"},
	kindDuration: {"loadBalancer.healthCheck.interval", "loadBalancer.healthCheck.unhealthyInterval", "loadBalancer.healthCheck.timeout"},
	kindSection:  {"loadBalancer.proxyProtocol", "loadBalancer.healthCheck"},
})

var tcpMiddlewareFields = fieldsOf(map[kind][]string{
	kindNumber: {"inFlightConn.amount"},
	kindList:   {"ipAllowList.sourceRange", "ipWhiteList.sourceRange"},
})

var udpRouterFields = fieldsOf(map[kind][]string{kindText: {"service"}, kindList: {"entryPoints"}, kindSection: {""}})

var udpServiceFields = fieldsOf(map[kind][]string{kindNumber: {"loadBalancer.server.port"}})

var tlsStoreFields = fieldsOf(map[kind][]string{
	kindText: {"defaultGeneratedCert.resolver", "defaultGeneratedCert.domain.main", "defaultCertificate.certFile", "defaultCertificate.keyFile"},
	kindList: {"defaultGeneratedCert.domain.sans"},
})

// middlewareType is one of Traefik's middlewares, which are the first word after
// the name: traefik.http.middlewares.<name>.stripprefix.
type middlewareType struct {
	name     string
	protects bool     // it keeps requests out, or tells servers who somebody is: no rule serves without it
	unless   []string // the only fields with which it does neither
	needs    []string // it does nothing sensible without these
}

var middlewareTypes = []middlewareType{
	{name: "addPrefix", needs: []string{"addPrefix.prefix"}},
	{name: "basicAuth", protects: true},
	{name: "buffering"},
	{name: "chain", needs: []string{"chain.middlewares"}},
	{name: "circuitBreaker"},
	{name: "compress"},
	{name: "contentType"},
	{name: "digestAuth", protects: true},
	{name: "encodedCharacters", protects: true},
	{name: "errors"},
	{name: "forwardAuth", protects: true},
	{name: "grpcWeb"},
	{name: "headers"},
	// It protects if it is by client. Of a host as a whole it is about load, of which
	// max_connections takes care in another way: per server, and requests wait.
	{name: "inFlightReq", protects: true, unless: []string{"inFlightReq.amount", "inFlightReq.sourceCriterion.requestHost"}},
	{name: "ipAllowList", protects: true},
	{name: "ipWhiteList", protects: true},
	{name: "passTLSClientCert", protects: true},
	{name: "plugin", protects: true},
	{name: "rateLimit", protects: true},
	{name: "redirectRegex", needs: []string{"redirectRegex.regex", "redirectRegex.replacement"}},
	{name: "redirectScheme", needs: []string{"redirectScheme.scheme"}},
	{name: "replacePath", needs: []string{"replacePath.path"}},
	{name: "replacePathRegex", needs: []string{"replacePathRegex.regex", "replacePathRegex.replacement"}},
	{name: "retry"},
	{name: "stripPrefix", needs: []string{"stripPrefix.prefixes"}},
	{name: "stripPrefixRegex", needs: []string{"stripPrefixRegex.regex"}},
}

// middlewareTypeNames are all of them.
func middlewareTypeNames() []string {
	names := make([]string, len(middlewareTypes))
	for i := range middlewareTypes {
		names[i] = middlewareTypes[i].name
	}
	return names
}

// middlewareTypeOf is the type that a path begins with, nil for an unknown one.
func middlewareTypeOf(path string) *middlewareType {
	word, _, _ := strings.Cut(path, ".")
	for i := range middlewareTypes {
		if strings.EqualFold(word, middlewareTypes[i].name) {
			return &middlewareTypes[i]
		}
	}
	return nil
}

var httpMiddlewareFields = fieldsOf(map[kind][]string{
	kindText: {
		"addPrefix.prefix",
		"basicAuth.usersFile", "basicAuth.realm", "basicAuth.headerField",
		"buffering.retryExpression",
		"circuitBreaker.expression",
		"compress.defaultEncoding",
		"digestAuth.usersFile", "digestAuth.realm", "digestAuth.headerField",
		"errors.service", "errors.query",
		"forwardAuth.address", "forwardAuth.authResponseHeadersRegex", "forwardAuth.headerField", "forwardAuth.authSigninURL",
		"forwardAuth.tls.ca", "forwardAuth.tls.cert", "forwardAuth.tls.key",
		"headers.customFrameOptionsValue", "headers.customBrowserXSSValue", "headers.contentSecurityPolicy",
		"headers.contentSecurityPolicyReportOnly", "headers.publicKey", "headers.referrerPolicy", "headers.permissionsPolicy",
		"headers.featurePolicy", "headers.sslHost",
		"inFlightReq.sourceCriterion.requestHeaderName",
		"rateLimit.sourceCriterion.requestHeaderName", "rateLimit.redis.username", "rateLimit.redis.password",
		"rateLimit.redis.tls.ca", "rateLimit.redis.tls.cert", "rateLimit.redis.tls.key",
		"redirectRegex.regex", "redirectRegex.replacement",
		"redirectScheme.scheme", "redirectScheme.port",
		"replacePath.path",
		"replacePathRegex.regex", "replacePathRegex.replacement",
	},
	kindNumber: {
		"buffering.maxRequestBodyBytes", "buffering.memRequestBodyBytes", "buffering.maxResponseBodyBytes", "buffering.memResponseBodyBytes",
		"circuitBreaker.responseCode",
		"compress.minResponseBodyBytes",
		"forwardAuth.maxBodySize", "forwardAuth.maxResponseBodySize",
		"headers.accessControlMaxAge", "headers.stsSeconds",
		"inFlightReq.amount", "inFlightReq.sourceCriterion.ipStrategy.depth", "inFlightReq.sourceCriterion.ipStrategy.ipv6Subnet",
		"ipAllowList.ipStrategy.depth", "ipAllowList.ipStrategy.ipv6Subnet", "ipAllowList.rejectStatusCode",
		"ipWhiteList.ipStrategy.depth", "ipWhiteList.ipStrategy.ipv6Subnet",
		"rateLimit.average", "rateLimit.burst", "rateLimit.sourceCriterion.ipStrategy.depth", "rateLimit.sourceCriterion.ipStrategy.ipv6Subnet",
		"rateLimit.redis.db", "rateLimit.redis.poolSize", "rateLimit.redis.minIdleConns", "rateLimit.redis.maxActiveConns",
		"retry.attempts", "retry.maxRequestBodyBytes",
	},
	kindFlag: {
		"basicAuth.removeHeader", "digestAuth.removeHeader",
		"contentType.autoDetect",
		"encodedCharacters.allowEncodedSlash", "encodedCharacters.allowEncodedBackSlash", "encodedCharacters.allowEncodedNullCharacter",
		"encodedCharacters.allowEncodedSemicolon", "encodedCharacters.allowEncodedPercent", "encodedCharacters.allowEncodedQuestionMark",
		"encodedCharacters.allowEncodedHash",
		"forwardAuth.trustForwardHeader", "forwardAuth.forwardBody", "forwardAuth.preserveLocationHeader", "forwardAuth.preserveRequestMethod",
		"forwardAuth.tls.insecureSkipVerify", "forwardAuth.tls.caOptional",
		"headers.accessControlAllowCredentials", "headers.addVaryHeader", "headers.stsIncludeSubdomains", "headers.stsPreload",
		"headers.forceSTSHeader", "headers.frameDeny", "headers.contentTypeNosniff", "headers.browserXssFilter", "headers.isDevelopment",
		"headers.sslRedirect", "headers.sslTemporaryRedirect", "headers.sslForceHost",
		"inFlightReq.sourceCriterion.requestHost",
		"passTLSClientCert.pem", "passTLSClientCert.info.notAfter", "passTLSClientCert.info.notBefore", "passTLSClientCert.info.sans",
		"passTLSClientCert.info.serialNumber",
		"passTLSClientCert.info.subject.country", "passTLSClientCert.info.subject.province", "passTLSClientCert.info.subject.locality",
		"passTLSClientCert.info.subject.organization", "passTLSClientCert.info.subject.organizationalUnit",
		"passTLSClientCert.info.subject.commonName", "passTLSClientCert.info.subject.serialNumber", "passTLSClientCert.info.subject.domainComponent",
		"passTLSClientCert.info.issuer.country", "passTLSClientCert.info.issuer.province", "passTLSClientCert.info.issuer.locality",
		"passTLSClientCert.info.issuer.organization", "passTLSClientCert.info.issuer.commonName",
		"passTLSClientCert.info.issuer.serialNumber", "passTLSClientCert.info.issuer.domainComponent",
		"rateLimit.sourceCriterion.requestHost", "rateLimit.redis.tls.insecureSkipVerify",
		"redirectRegex.permanent", "redirectScheme.permanent",
		"retry.disableRetryOnNetworkError", "retry.retryNonIdempotentMethod",
		"stripPrefix.forceSlash",
	},
	kindList: {
		"basicAuth.users", "digestAuth.users",
		"chain.middlewares",
		"compress.excludedContentTypes", "compress.includedContentTypes", "compress.encodings",
		"errors.status", "errors.errorRequestHeaders",
		"forwardAuth.authRequestHeaders", "forwardAuth.authResponseHeaders", "forwardAuth.addAuthCookiesToResponse",
		"grpcWeb.allowOrigins",
		"headers.accessControlAllowHeaders", "headers.accessControlAllowMethods", "headers.accessControlAllowOriginList",
		"headers.accessControlAllowOriginListRegex", "headers.accessControlExposeHeaders", "headers.allowedHosts", "headers.hostsProxyHeaders",
		"inFlightReq.sourceCriterion.ipStrategy.excludedIPs",
		"ipAllowList.sourceRange", "ipAllowList.ipStrategy.excludedIPs", "ipWhiteList.sourceRange", "ipWhiteList.ipStrategy.excludedIPs",
		"rateLimit.sourceCriterion.ipStrategy.excludedIPs", "rateLimit.redis.endpoints",
		"retry.status",
		"stripPrefix.prefixes", "stripPrefixRegex.regex",
	},
	kindDuration: {
		"circuitBreaker.checkPeriod", "circuitBreaker.fallbackDuration", "circuitBreaker.recoveryDuration",
		"rateLimit.period", "rateLimit.redis.readTimeout", "rateLimit.redis.writeTimeout", "rateLimit.redis.dialTimeout",
		"retry.initialInterval", "retry.timeout",
	},
	kindMapping: {
		"errors.statusRewrites", "headers.customRequestHeaders", "headers.customResponseHeaders", "headers.sslProxyHeaders",
		"plugin",
	},
	kindSection: {
		"compress", "contentType", "encodedCharacters", "grpcWeb", "passTLSClientCert.info",
		"inFlightReq.sourceCriterion.ipStrategy", "ipAllowList.ipStrategy", "ipWhiteList.ipStrategy", "rateLimit.sourceCriterion.ipStrategy",
		"rateLimit.redis", "rateLimit.redis.tls",
	},
})
