package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	// adviceEvery is how often a CA is asked that does not say how often it wants to
	// be (RFC 9773 section 4.3), and adviceLeast and adviceMost bound what it may say.
	adviceEvery = 6 * time.Hour
	adviceLeast = time.Minute
	adviceMost  = 24 * time.Hour
	// adviceLook is how often it is looked for certificates to ask about, and
	// adviceApart how long between two of them, on average, when a program starts.
	adviceLook  = time.Second
	adviceApart = time.Second
	// adviceAge is how old a certificate gets whatever the CA says, but for those of a
	// few days: a CA that is wrong must not have us order without end.
	adviceAge = 24 * time.Hour
)

// advice is when a CA wants a certificate to be renewed (ACME Renewal Information,
// RFC 9773). It may be long before the end, if certificates are to be revoked.
type advice struct {
	serial string    // of the certificate; "": none was asked about
	at     time.Time // to renew; zero: the CA has not said
	next   time.Time // to ask
}

// advised is when to renew a certificate of name: as its life has it, or earlier if
// the CA says so.
func (a *ACME) advised(name string, leaf *x509.Certificate) time.Time {
	at := a.renewAt(leaf)
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := a.names[name]; n != nil && !n.advice.at.IsZero() && n.advice.serial == leaf.SerialNumber.Text(16) && n.advice.at.Before(at) {
		return n.advice.at
	}
	return at
}

// heed asks the CA about one certificate after the other, until ctx ends.
func (a *ACME) heed(ctx context.Context) {
	for sleep(ctx, adviceLook) {
		if _, err := a.ca.resting(a.config.now()); err != nil {
			continue
		}
		for name, leaf := a.unadvised(); leaf != nil && ctx.Err() == nil; name, leaf = a.unadvised() {
			w, next, err := a.ca.renewal(ctx, a, leaf)
			a.advise(name, leaf, w, next)
			if err != nil && ctx.Err() == nil {
				a.config.Log.Debug("the CA does not say when to renew", zap.String("name", name), zap.Error(err))
			}
		}
	}
}

// unadvised is a certificate to ask about now; nil: there is none.
func (a *ACME) unadvised() (string, *x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.config.now()
	for _, n := range a.names {
		if n.cert == nil || n.foreign || n.state != ACMEValid {
			continue
		}
		leaf := n.cert.Leaf
		if serial := leaf.SerialNumber.Text(16); n.advice.serial != serial {
			n.advice = advice{serial: serial, next: now.Add(rand.N(adviceApart * time.Duration(len(a.names))))}
		}
		if now.Before(n.advice.next) {
			continue
		}
		n.advice.next = now.Add(adviceEvery)
		return n.name, leaf
	}
	return "", nil
}

// advise notes what the CA has said of a certificate: nil for nothing.
func (a *ACME) advise(name string, leaf *x509.Certificate, w *window, next time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.names[name]
	if n == nil || n.advice.serial != leaf.SerialNumber.Text(16) {
		return // it has gone, or been renewed
	}
	n.advice.next = a.config.now().Add(next)
	if w == nil {
		return
	}
	early := leaf.NotBefore.Add(min(adviceAge, leaf.NotAfter.Sub(leaf.NotBefore)/10))
	spread := maphash.Bytes(a.seed, leaf.SerialNumber.Bytes()) % 1024
	at := w.Start.Add(w.End.Sub(w.Start) / 1024 * time.Duration(spread))
	if at.Before(early) {
		at = early
	}
	if n.advice.at = at; !at.Before(n.next) {
		return
	}
	a.config.Log.Info("the CA wants a certificate renewed earlier", zap.String("name", name), zap.Time("renewal", at), zap.String("explanation", w.explanation))
	n.again = n.busy // else next would be what it was to be before
	n.next, a.dirty = at, true
	a.wake()
}

// caDirectory is what acme.Client does not keep of a CA's directory.
type caDirectory struct {
	RenewalInfo string `json:"renewalInfo"` // URL; "": it has none
}

// window is when a CA wants a certificate to be renewed.
type window struct {
	Start, End  time.Time
	explanation string // URL; "": none
}

// renewal asks for the window of a certificate, and how soon to ask again. It is for
// heed alone.
func (c *issuer) renewal(ctx context.Context, a *ACME, leaf *x509.Certificate) (*window, time.Duration, error) {
	if len(leaf.AuthorityKeyId) == 0 {
		return nil, adviceMost, errors.New("the certificate does not name its issuer's key")
	}
	if now := a.config.now(); now.Sub(c.directoryAt) >= adviceEvery {
		var d caDirectory
		if _, err := c.get(ctx, a, a.directory(), &d); err != nil {
			return nil, adviceEvery, err
		}
		c.directory, c.directoryAt = d, now
	}
	if c.directory.RenewalInfo == "" {
		return nil, adviceMost, errors.New("the CA has no renewal information")
	}
	var answer struct {
		Window      window `json:"suggestedWindow"`
		Explanation string `json:"explanationURL"`
	}
	header, err := c.get(ctx, a, c.directory.RenewalInfo+"/"+certificateID(leaf), &answer)
	if err != nil {
		return nil, adviceEvery, err
	}
	next := min(max(cmp.Or(retryAfter(header), adviceEvery), adviceLeast), adviceMost)
	if w := &answer.Window; w.Start.IsZero() || !w.End.After(w.Start) {
		return nil, next, fmt.Errorf("window from %s to %s", w.Start, w.End)
	}
	answer.Window.explanation = answer.Explanation
	return &answer.Window, next, nil
}

// certificateID is how RFC 9773 section 4.1 names a certificate.
func certificateID(leaf *x509.Certificate) string {
	serial := leaf.SerialNumber.Bytes()
	if len(serial) == 0 || serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...) // as in DER, where it has a sign
	}
	return base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId) + "." + base64.RawURLEncoding.EncodeToString(serial)
}

// get reads a JSON resource for which no account is needed.
func (c *issuer) get(ctx context.Context, a *ACME, url string, into any) (http.Header, error) {
	client, err := c.web(a)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("User-Agent", "lb")
	r, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }() // was only read
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %s", url, r.Status)
	}
	const most = 1 << 20
	if err := json.NewDecoder(io.LimitReader(r.Body, most)).Decode(into); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return r.Header, nil
}
