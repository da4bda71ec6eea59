package labels

// Normalize is s as Traefik writes names: what is neither letter nor number
// separates words, and a dash joins them.
func Normalize(s string) string { return normalize(s) }
