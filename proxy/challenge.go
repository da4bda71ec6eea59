package proxy

import (
	"strconv"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/proxy/http1"
)

// challengePath is where a CA looks for the answer of an http-01 challenge (RFC
// 8555 section 8.3).
const challengePath = "/.well-known/acme-challenge/"

// challengePatience is how long Options.Challenge may take; CAs wait for some 10 s.
const challengePatience = 5 * time.Second

// question is what Options.Challenge is asked for an Exchange, which waits for it.
type question struct {
	x          *Exchange // nil once that has ended or gone on
	host, path string
	fail       *failure // how the Exchange ends without an answer; nil: it is served
}

// questionOf is what is to be asked for a request; nil: nothing. It is copied, as
// the request is not there any more when the answer comes.
func (x *Exchange) questionOf(r *http1.Request) *question {
	n := len(challengePath)
	switch {
	case x.state.opts.Challenge == nil || len(r.Path) <= n || string(r.Path[:n]) != challengePath:
		return nil
	case !x.reqDone || x.method != methodHead && string(r.Method) != "GET":
		return nil
	}
	return &question{x: x, host: string(r.Host), path: string(r.Path)}
}

// maxQuestions bounds how many are asked at once, so that whoever asks for tokens
// that nobody has costs no goroutine each. The others are routed.
const maxQuestions = 64

// ask has the Exchange wait for the answer.
func (x *Exchange) ask(q *question) {
	p := x.core.proxy
	if p.questions.Add(1) > maxQuestions {
		p.questions.Add(-1)
		x.proceed(q.fail)
		return
	}
	x.question, x.stage = q, stageQueued
	x.deadline(int64(challengePatience))
	answer, post := x.state.opts.Challenge, x.core.loop.Post
	go func() { // ends with answer; the Exchange does not wait for longer than challengePatience
		body, ok := p.consult(answer, q)
		p.questions.Add(-1)
		post(func() { q.answered(body, ok) })
	}()
}

// consult calls answer. Its panic is no answer.
func (p *Proxy) consult(answer func(host, path string) ([]byte, bool), q *question) (body []byte, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			p.panics.add()
			p.log.Error("panic in the answer to a challenge", zap.Any("value", v), zap.Stack("stack"))
			body, ok = nil, false
		}
	}()
	return answer(q.host, q.path)
}

// answered goes on with the Exchange, if it still waits.
func (q *question) answered(body []byte, ok bool) {
	x := q.x
	if x == nil {
		return
	}
	q.x, x.question = nil, nil
	if !ok {
		x.proceed(q.fail)
		return
	}
	x.status = 200
	out := appendStatus(x.core.loop.Out(), 200, http1.StatusText(200))
	out = append(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	out = x.appendConnection(append(out, "\r\n"...))
	out = append(out, "\r\n"...)
	if x.method == methodHead {
		body = nil
	}
	x.respBytes = int64(len(body))
	if x.client.put(out, body) {
		x.flush()
	}
}
