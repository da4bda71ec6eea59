package labels

// lowestTraefik is what Traefik's priority 0 would become: far behind any
// priority that people write into a rules file.
const lowestTraefik = 1_000_000_000

// TraefikPriority turns a Traefik priority (higher first; mostly the length of the
// rule) into that of a Rule (lower first, 0 for none). The order among all p above
// minus a billion stays exact, and the result is never 0. Own rules with a
// priority come before, those without one after all rules of Traefik labels.
func TraefikPriority(p int) int {
	switch {
	case p >= lowestTraefik:
		return lowestTraefik - p - 1
	case p < -lowestTraefik:
		return 2 * lowestTraefik // -MinInt would not fit an int of 32 bits
	}
	return lowestTraefik - p
}
