package labels

import (
	"fmt"
	"strings"

	"arzur.net/lb/rules"
)

// warn says that label, a key of s.Labels, is not in force as it was meant; "" is
// about the labels as a whole. Everything else of the Subject still counts.
func (w *Wants) warn(s *Subject, label, format string, args ...any) {
	w.Problems = append(w.Problems, rules.Problem{Origin: s.origin(label), Reason: fmt.Sprintf(format, args...)})
}

// reject says that because of label the named rule does not serve: it is left out,
// or it answers 503 (Rule.Refuse).
func (w *Wants) reject(s *Subject, label, rule, format string, args ...any) {
	w.warn(s, label, format, args...)
	p := &w.Problems[len(w.Problems)-1]
	p.Rule, p.Fatal = rule, true
}

// rejected says whether there was a reject.
func (w *Wants) rejected() bool {
	for i := range w.Problems {
		if w.Problems[i].Fatal {
			return true
		}
	}
	return false
}

// origin is where a rule or a problem comes from: "container blog-1: label
// lb.hostname", "service blog: tag urlprefix-/".
func (s *Subject) origin(label string) string {
	if label == "" {
		return s.Origin
	}
	if isFabio(label) {
		return s.Origin + ": tag " + label
	}
	return s.Origin + ": label " + label
}

// didYouMean is the end of a sentence about an unknown word: the nearest known
// word, or nothing when none is near.
func didYouMean(word string, known []string) string { return asked(rules.NearMisses(word, known)) }

func asked(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near[0])
}

// nearPaths lists the documented paths that path may be a misspelling of: those
// that look alike, else those that it is the end of, else those with the same last word.
func nearPaths(path string, known []string) []string {
	near := rules.NearMisses(path, known)
	for tail := path; len(near) == 0 && tail != ""; {
		for _, name := range known {
			if strings.HasSuffix(strings.ToLower("."+name), strings.ToLower("."+tail)) {
				near = append(near, name)
			}
		}
		_, tail, _ = strings.Cut(tail, ".")
	}
	return near[:min(3, len(near))]
}
