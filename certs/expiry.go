package certs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.uber.org/zap"

	"arzur.net/lb/rules"
)

const (
	// Ahead is how long before its end a certificate in a file is warned of, and
	// aheadACME that of one that should have been renewed long before.
	ahead     = 30 * 24 * time.Hour
	aheadACME = 7 * 24 * time.Hour
	// warnEvery is how often the same certificate is warned of.
	warnEvery = 24 * time.Hour
	// expiryEvery is how often the ends are looked at; more often than warnEvery,
	// because certificates come at any time.
	expiryEvery = time.Hour
)

// ending says in words that the certificate ends soon, "" if it does not. One
// that was made for a short time is worth a word in its last third only.
func (c *Certificate) ending(now time.Time) string {
	warn := ahead
	if c.Source == FromACME {
		warn = aheadACME
	}
	warn = min(warn, c.leaf.NotAfter.Sub(c.leaf.NotBefore)/3)
	left := c.leaf.NotAfter.Sub(now)
	switch days := int(left.Hours() / 24); {
	case left < 0:
		return "expired on " + day(c.leaf.NotAfter) + "; renew it"
	case left > warn:
		return ""
	case days > 1:
		return fmt.Sprintf("expires in %d days, on %s; renew it", days, day(c.leaf.NotAfter))
	}
	return "expires on " + c.leaf.NotAfter.UTC().Format(time.RFC3339) + "; renew it"
}

// Endings are warnings of certificates that end soon, or have.
func (s *Store) Endings() (all []rules.Problem) {
	now := time.Now()
	for _, c := range s.all() {
		if text := c.ending(now); text != "" {
			all = append(all, rules.Problem{Origin: c.Origin, Reason: text})
		}
	}
	return all
}

// WarnOfEndings logs what Endings has, each certificate once a day, until ctx
// ends.
func (s *Store) WarnOfEndings(ctx context.Context, log *zap.Logger) {
	said := map[[sha256.Size]byte]time.Time{}
	for {
		now := time.Now()
		for _, c := range s.all() {
			text := c.ending(now)
			if last, was := said[c.sum]; text == "" || was && now.Sub(last) < warnEvery {
				continue
			}
			said[c.sum] = now
			log.Warn("certificate ends soon", zap.String("origin", c.Origin), zap.Strings("names", c.Names), zap.String("reason", text))
		}
		if !sleep(ctx, expiryEvery) {
			return
		}
	}
}
