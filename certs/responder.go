package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/crypto/ocsp"
)

// ask asks c's responder. The response is signed by c's issuer, about c, and
// counts now.
func (s *Stapler) ask(ctx context.Context, c *Certificate) ([]byte, *ocsp.Response, error) {
	chain := c.served.Load().Certificate
	if len(chain) < 2 {
		return nil, nil, errors.New("the certificate names an OCSP responder, but its issuer's certificate, to ask with, is not in the file; append it")
	}
	issuer, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return nil, nil, fmt.Errorf("issuer: %w", err)
	}
	question, err := ocsp.CreateRequest(c.leaf, issuer, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("ask OCSP responder: %w", err)
	}
	at := c.leaf.OCSPServer[0]
	der, err := s.post(ctx, at, question)
	if err != nil {
		return nil, nil, fmt.Errorf("ask OCSP responder: %w", err)
	}
	answer, err := ocsp.ParseResponseForCert(der, c.leaf, issuer)
	if err != nil {
		return nil, nil, fmt.Errorf("response of %s: %w", at, err)
	}
	now := time.Now()
	if answer.ThisUpdate.After(now.Add(stapleSkew)) || !answer.NextUpdate.IsZero() && !now.Before(answer.NextUpdate) {
		return nil, nil, fmt.Errorf("response of %s: counts from %s to %s only", at, answer.ThisUpdate.Format(time.RFC3339), answer.NextUpdate.Format(time.RFC3339))
	}
	return der, answer, nil
}

func (s *Stapler) post(ctx context.Context, at string, question []byte) ([]byte, error) {
	if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no http address", at)
	}
	ctx, cancel := context.WithTimeout(ctx, stapleWait)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/ocsp-request")
	r, err := s.Client.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Body.Close() }() // was only read
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %s", at, r.Status)
	}
	der, err := io.ReadAll(io.LimitReader(r.Body, stapleMost+1))
	if err == nil && len(der) > stapleMost {
		err = fmt.Errorf("%s: response larger than %d bytes", at, stapleMost)
	}
	return der, err
}

// mustStaple says whether the certificate has the TLS feature status_request
// (RFC 7633).
func mustStaple(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		var features []int
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil {
			for _, f := range features {
				if f == 5 || f == 17 {
					return true
				}
			}
		}
	}
	return false
}
