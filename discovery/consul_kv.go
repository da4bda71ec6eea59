package discovery

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"arzur.net/lb/rules"
)

// kvPace and kvPause are to the KV store what catalogPace and catalogPause are to
// the catalog.
const (
	kvPace  = 100 * time.Millisecond
	kvPause = time.Second
)

// consulFragments is what the KV store holds, by key. It is Watch's.
type consulFragments struct {
	last     map[string]Fragment // as of the last good value
	values   map[string][]byte   // the last good ones
	rejected []rules.Problem     // about values that do not count
}

// counts says whether the value can be used.
func (f *Fragment) counts() bool {
	return !slices.ContainsFunc(f.Problems, func(p rules.Problem) bool { return p.Fatal })
}

// take takes over a good value.
func (f *consulFragments) take(key string, value []byte, fragment Fragment) {
	if f.last == nil {
		f.last, f.values = make(map[string]Fragment), make(map[string][]byte)
	}
	f.last[key], f.values[key] = fragment, value
}

// followKV keeps an eye on the keys that hold rules; last are those of the cache.
func (w *consulWatch) followKV(last map[string][]byte) {
	read := false
	kv := w.client.KV()
	ask(w.ctx, w, question[api.KVPairs]{
		what:  "kv " + w.Config.KV,
		ask:   func(o *api.QueryOptions) (api.KVPairs, *api.QueryMeta, error) { return kv.List(w.Config.KV, o) },
		sizes: func(pairs api.KVPairs) (before, now int) { return len(last), len(values(pairs)) },
		pause: kvPause,
		pace:  kvPace,
		use: func(pairs api.KVPairs) {
			now := values(pairs)
			if maps.EqualFunc(now, last, bytes.Equal) && read {
				return
			}
			changed := make(map[string]Fragment)
			for key, value := range now {
				if before, known := last[key]; !known || !bytes.Equal(before, value) {
					changed[key] = w.ParseFragment(key, value)
				}
			}
			last, read = now, true
			w.tell(func() {
				w.kv = consulHeard
				w.fragments.update(now, changed)
				w.news = true
			})
		},
		fail: func(err error) { w.tell(func() { w.kv.miss(err) }) },
	})
}

// values are the keys with something in them. Consul's user interface makes folders
// by keys that end in a slash.
func values(pairs api.KVPairs) map[string][]byte {
	m := make(map[string][]byte, len(pairs))
	for _, p := range pairs {
		if !strings.HasSuffix(p.Key, "/") {
			m[p.Key] = p.Value
		}
	}
	return m
}

// update takes over what changed. A value that cannot be used leaves the one
// before in force.
func (f *consulFragments) update(now map[string][]byte, changed map[string]Fragment) {
	maps.DeleteFunc(f.last, func(key string, _ Fragment) bool { _, there := now[key]; return !there })
	maps.DeleteFunc(f.values, func(key string, _ []byte) bool { _, there := now[key]; return !there })
	f.rejected = slices.DeleteFunc(f.rejected, func(p rules.Problem) bool {
		_, again := changed[p.Other]
		_, there := now[p.Other]
		return again || !there
	})
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		fragment := changed[key]
		if fragment.counts() {
			f.take(key, now[key], fragment)
			continue
		}
		_, before := f.last[key]
		for _, p := range fragment.Problems {
			p.Other = key
			if p.Fatal && before {
				p.Reason = fmt.Sprintf("%s; the value before it stays in force", p.Reason)
			}
			f.rejected = append(f.rejected, p)
		}
	}
}

func (f *consulFragments) addTo(a *consulAnnouncement) {
	for _, key := range slices.Sorted(maps.Keys(f.last)) {
		fragment := f.last[key]
		a.Rules = append(a.Rules, fragment.Rules...)
		a.Warnings = append(a.Warnings, fragment.Problems...)
		for i := range fragment.Services {
			a.addService(&fragment.Services[i])
		}
	}
	a.Warnings = append(a.Warnings, f.rejected...)
}
