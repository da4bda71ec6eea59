package admin

import (
	"bytes"
	"fmt"
	"net/http"

	"arzur.net/lb/certs"
	"arzur.net/lb/health"
	"arzur.net/lb/proxy"
	"arzur.net/lb/rules"
)

// Match is what becomes of a request at one listener.
type Match struct {
	Listen      string      `json:"listen"`
	Method      string      `json:"method,omitempty"`
	Host        string      `json:"host"` // as rules compare it
	Path        string      `json:"path,omitempty"`
	Client      string      `json:"client"`
	Note        string      `json:"note,omitempty"`
	Certificate string      `json:"certificate,omitempty"` // what a client gets to see, in words
	Tried       []triedView `json:"tried"`
	More        int         `json:"more,omitempty"` // rules for other hosts that Tried leaves out
	Rule        *ruleView   `json:"rule"`           // the one that takes the request; null: none
	SentPath    string      `json:"sent_path,omitempty"`
	Location    string      `json:"location,omitempty"`   // of a redirect by pattern
	NoAddress   []string    `json:"no_address,omitempty"` // names of servers that DNS knows nothing of, or that nobody has looked up
	Status      int         `json:"status,omitempty"`     // of lb's own answer; missing: a server answers
	Reason      string      `json:"reason,omitempty"`     // its word in the access log
	Text        string      `json:"text,omitempty"`       // and for people
}

// triedView is one rule that a request is compared with.
type triedView struct {
	Match  string `json:"match"`
	Name   string `json:"name"`
	Origin string `json:"origin"`
	Takes  bool   `json:"takes"`
	Why    string `json:"why,omitempty"` // it does not get the request
}

// mostTried is how many rules an answer lists, unless more are for the host.
const mostTried = 20

// Explain says what becomes of a request at each listener that may get it. With
// live it counts which servers are usable, and which certificate clients get. The
// error says what is wrong with the Question.
func Explain(t *rules.Table, q *Question, live bool, store *certs.Store) ([]Match, error) {
	a, err := q.read()
	if err != nil {
		return nil, err
	}
	ports, err := a.listeners(t)
	if err != nil {
		return nil, err
	}
	answers := make([]Match, 0, len(ports))
	for _, l := range ports {
		m := a.on(t, l, live)
		if live && (l.Protocol == rules.HTTPS || l.Protocol == rules.TLS) {
			m.Certificate = a.certificate(store)
		}
		answers = append(answers, m)
	}
	return answers, nil
}

// on is the answer of one listener.
func (a *asked) on(t *rules.Table, l rules.Listen, live bool) Match {
	m := Match{Listen: l.String(), Host: string(a.Host), Client: a.Client.String(), Tried: []triedView{}}
	r := rules.Request{Host: a.Host, Client: a.Client, Path: []byte("/")}
	switch l.Protocol {
	case rules.HTTP, rules.HTTPS:
		r = a.Request
		m.Method, m.Path = string(a.Method), string(a.Path)
	}
	if a.secure() != (l.Protocol != rules.HTTP) && defaultPorts[a.url.Scheme] != "" {
		m.Note = "the port speaks " + l.Protocol
	}
	winner := m.compare(t.Explain(l, &r))
	m.judge(a, winner, live)
	return m
}

// compare lists the steps and finds the Entry that takes the request, nil if none does.
func (m *Match) compare(steps []rules.Step) *rules.Entry {
	var winner *rules.Entry
	far := mostTried // how many more may be listed that are for other hosts
	for i := range steps {
		if steps[i].Near {
			far--
		}
	}
	for _, s := range steps {
		v := triedView{Match: s.Entry.Match(), Name: s.Entry.Rule.Name, Origin: s.Entry.Rule.Origin, Why: s.Why}
		switch {
		case s.Why != "":
		case winner == nil:
			winner, v.Takes = s.Entry, true
		default:
			v.Why = "would take it, but comes later"
		}
		if !s.Near {
			if far--; far < 0 {
				m.More++
				continue
			}
		}
		m.Tried = append(m.Tried, v)
	}
	return winner
}

// judge says what is answered, or who answers.
func (m *Match) judge(a *asked, e *rules.Entry, live bool) {
	if e == nil {
		m.fail("no_rule", "")
		return
	}
	now := health.Now()
	m.Rule = new(viewRule(e, now))
	if !live {
		for i := range m.Rule.Targets {
			m.Rule.Targets[i].State = "" // nobody has asked them
		}
	}
	to, safe := e.Rule.Redirect, m.Method == "GET" || m.Method == "HEAD"
	switch {
	case e.Rule.Refuse != "":
		m.fail("refused", e.Rule.Refuse)
		return
	case to != nil && to.Pattern == "":
		m.Status = to.Status(safe)
		return
	case to != nil:
		if url := e.RedirectURL([]byte(a.url.Scheme + "://" + a.url.Host + a.url.RequestURI())); url != nil {
			m.Location, m.Status = string(url), to.Status(safe)
			return
		}
	}
	if e.Pool == nil {
		m.fail("no_rule", "the rule redirects, but its pattern does not match this URL")
		return
	}
	m.forward(a, e, live && !e.Pool.Serves(now))
}

// forward says how a request goes on.
func (m *Match) forward(a *asked, e *rules.Entry, nobody bool) {
	if m.Path != "" {
		sent, ok := e.Rewrite(e.Rule.AppendPath(nil, a.Path))
		if !ok {
			m.fail("bad_path", "")
			return
		}
		if !bytes.Equal(sent.Path, a.Path) {
			m.SentPath = string(sent.Path)
		}
	}
	m.NoAddress = e.Pool.Unresolved()
	if nobody {
		m.fail("no_backend", "")
	}
}

// fail is an answer of lb's own. detail stands instead of the usual text.
func (m *Match) fail(word, detail string) {
	m.Reason = word
	m.Status, m.Text = proxy.Failure(word)
	if detail != "" {
		m.Text = detail
	}
}

// Served says that the request ends well: a server answers, or a redirect does.
func (m *Match) Served() bool { return m.Reason == "" }

func (s *Server) match(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	q := Question{URL: v.Get("url"), Method: v.Get("method"), Header: v["header"], Client: v.Get("client")}
	t := s.Proxy.Table()
	if t == nil {
		t, _ = rules.Compile(rules.Input{}, rules.NoBackends{})
	}
	answers, err := Explain(t, &q, true, s.Certs)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i := range answers {
		if m, n := &answers[i], s.countRejected(); m.Rule == nil && n > 0 {
			m.Text += fmt.Sprintf("; %d rejected, see /api/rejected", n)
		}
	}
	s.reply(w, answers)
}
