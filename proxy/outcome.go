package proxy

import "arzur.net/lb/proxy/http1"

// failure is an Exchange that did not end with a Backend's own answer.
type failure struct {
	status int
	word   string // for logs and metrics: one stable token
	text   string // for people, in the body
}

// Which failure. The order is of no importance; failures holds what each means.
type failureID uint8

const (
	noRule failureID = iota
	noBackend
	queueFull
	queueTimeout
	connectFailed
	connectTimeout
	exhausted
	tlsFailed
	brokenResponse
	badResponse
	responseTimeout
	responseCut
	responseStalled
	slowHead
	slowBody
	badBody
	bodyTooLarge
	badPath
	refused
	misdirected
	badHello
	slowHello
	badProxyHeader
	slowProxyHeader
	totalTimeout
	clientGone
	clientStalled
	internalError
	failureCount
)

// failures is the one place that says which status each failure has: client
// mistakes are 4xx, Backend mistakes 502 and 504, ours and overload 503.
// 499 is never sent: the client had left.
var failures = [failureCount]failure{
	noRule:          {404, "no_rule", "no rule matches this request"},
	noBackend:       {503, "no_backend", "no server of this service is usable"},
	queueFull:       {503, "queue_full", "all servers are busy and the queue is full"},
	queueTimeout:    {503, "queue_timeout", "all servers stayed busy"},
	connectFailed:   {502, "connect_failed", "the server could not be reached"},
	connectTimeout:  {504, "connect_timeout", "the server could not be reached in time"},
	exhausted:       {503, "exhausted", "the load balancer has no file descriptor or memory left"},
	tlsFailed:       {502, "tls_failed", "no secure connection to the server"},
	brokenResponse:  {502, "broken_response", "the server closed the connection before answering"},
	badResponse:     {502, "bad_response", "the server's answer is not valid HTTP"},
	responseTimeout: {504, "response_timeout", "the server did not answer in time"},
	responseCut:     {502, "response_cut", "the server's answer ended early"},
	responseStalled: {504, "response_stalled", "the server's answer stalled"},
	slowHead:        {408, "slow_head", "the request head did not arrive in time"},
	slowBody:        {408, "slow_body", "the request body did not arrive in time"},
	badBody:         {400, "bad_body", "the request body is malformed"},
	bodyTooLarge:    {413, "body_too_large", "the request body is larger than allowed"},
	badPath:         {400, "bad_path", "the rewritten path has dot segments"},
	refused:         {503, "refused", "the rule asks for protection that cannot be given"},
	misdirected:     {421, "misdirected", "the certificate of this connection is not for this host"},
	badHello:        {400, "bad_hello", "the connection does not begin with a TLS ClientHello"},
	slowHello:       {408, "slow_hello", "the ClientHello did not arrive in time"},
	badProxyHeader:  {400, "bad_proxy_header", "the connection does not begin with a PROXY protocol header"},
	slowProxyHeader: {408, "slow_proxy_header", "the PROXY protocol header did not arrive in time"},
	totalTimeout:    {504, "total_timeout", "the request took too long"},
	clientGone:      {499, "client_gone", "the client closed the connection"},
	clientStalled:   {499, "client_stalled", "the client stopped reading"},
	internalError:   {502, "internal_error", "the load balancer failed on this request"},
}

// Failure is the status and the text of lb's own answer for a word of the access
// log's; 0 if there is none such.
func Failure(word string) (status int, text string) {
	for i := range failures {
		if f := &failures[i]; f.word == word {
			return f.status, f.text
		}
	}
	return 0, ""
}

// rejected is the failure for a message that the codec refused.
func rejected(r *http1.Reject) *failure {
	return &failure{r.Status, "bad_request", r.Reason}
}
