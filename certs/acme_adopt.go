package certs

import "maps"

// Adopt has a, which is new, go on where old stands, which from now on tells the
// Store nothing more, and whose Run is to be ended. What old serves is served until
// there is something better; of another CA than a's it is replaced soon.
func (a *ACME) Adopt(old *ACME) {
	old.telling.Lock()
	old.retired = true
	old.telling.Unlock()
	old.mu.Lock()
	defer old.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.orders, old.orders)
	now, foreign := a.config.now(), a.directory() != old.directory()
	for name, n := range old.names {
		a.names[name] = &managed{
			name: name, state: ACMEWaiting, next: now,
			cert: n.cert, foreign: n.cert != nil && (foreign || n.foreign), seen: n.cert != nil,
		}
	}
}

// Retire has the Store forget what a has told it. Run is to be ended.
func (a *ACME) Retire() {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.retired = true
	a.config.Store.SetACME(nil)
	a.config.Store.SetChallenge(nil)
}
