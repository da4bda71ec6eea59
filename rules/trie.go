package rules

import "bytes"

// trie is a radix tree that finds every key a text begins with, in one walk
// down. The zero trie is empty. It is built by one goroutine and then only read.
type trie[V any] struct {
	label string // the text between the parent and this node
	set   bool   // whether a key ends here
	value V
	first []byte // first bytes of the kids' labels, in the same order
	kids  []*trie[V]
}

// at is the value of key, which is added when it is new.
func (t *trie[V]) at(key string) *V {
	if key == "" {
		t.set = true
		return &t.value
	}
	i := bytes.IndexByte(t.first, key[0])
	if i < 0 {
		i = len(t.kids)
		t.first = append(t.first, key[0])
		t.kids = append(t.kids, &trie[V]{label: key})
	}
	kid := t.kids[i]
	n := common(kid.label, key)
	if n < len(kid.label) {
		t.kids[i] = &trie[V]{label: kid.label[:n], first: []byte{kid.label[n]}, kids: []*trie[V]{kid}}
		kid.label = kid.label[n:]
		kid = t.kids[i]
	}
	return kid.at(key[n:])
}

func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// step is the kid that text leads to, and the text after its label; nil when there is none.
func (t *trie[V]) step(text []byte) (*trie[V], []byte) {
	if len(text) == 0 {
		return nil, nil
	}
	i := bytes.IndexByte(t.first, text[0])
	if i < 0 {
		return nil, nil
	}
	kid := t.kids[i]
	if n := len(kid.label); len(text) >= n && string(text[:n]) == kid.label {
		return kid, text[n:]
	}
	return nil, nil
}

// stepFolded is step for a trie whose keys are in lower case, and a text in any.
func (t *trie[V]) stepFolded(text []byte) (*trie[V], []byte) {
	if len(text) == 0 {
		return nil, nil
	}
	i := bytes.IndexByte(t.first, lower(text[0]))
	if i < 0 {
		return nil, nil
	}
	kid := t.kids[i]
	if startsFolded(text, kid.label) {
		return kid, text[len(kid.label):]
	}
	return nil, nil
}
