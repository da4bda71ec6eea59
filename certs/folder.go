package certs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The files of one domain in a folder of its own, as certbot and most ACME
// clients write them, and as Kubernetes mounts a secret.
var ownFolder = []pair{{"fullchain.pem", "privkey.pem"}, {"tls.crt", "tls.key"}}

// listing is what a folder has.
type listing struct {
	pairs  []pair
	strays []error // files that miss their other half
}

// beside are files that certbot puts beside fullchain.pem, which has them both.
var beside = []string{"cert.pem", "chain.pem"}

// list finds the pairs in a folder: NAME.pem or NAME.crt with NAME.key, single
// NAME.pem files with both, folders of one domain each, and the files of one
// domain itself. Names that begin with a dot are left out, and so is what looks
// like no certificate.
func list(dir string) (*listing, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err // has the path
	}
	has := make(map[string]bool, len(entries))
	for _, e := range entries {
		has[e.Name()] = true
	}
	l := &listing{}
	if own := ownFolder[0]; has[own.cert] && has[own.key] {
		l.pairs = []pair{{filepath.Join(dir, own.cert), filepath.Join(dir, own.key)}}
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
			return e.Name() == own.cert || e.Name() == own.key || slices.Contains(beside, e.Name())
		})
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			l.add(dir, e, has)
		}
	}
	return l, nil
}

// add adds what is in dir, where files are that have these names.
func (l *listing) add(dir string, e os.DirEntry, has map[string]bool) {
	path := filepath.Join(dir, e.Name())
	base, ext := split(e.Name())
	switch {
	case e.IsDir() || e.Type()&os.ModeSymlink != 0 && isFolder(path):
		l.addFolder(path)
	case ext == ".key" && !has[base+".pem"] && !has[base+".crt"]:
		l.strays = append(l.strays, fmt.Errorf("%s: no certificate with it; want %s.pem or %s.crt beside it", path, base, base))
	case ext == ".pem" || ext == ".crt":
		l.addFile(dir, e.Name(), has[base+".key"])
	}
}

func (l *listing) addFile(dir, name string, hasKey bool) {
	base, _ := split(name)
	p := pair{filepath.Join(dir, name), filepath.Join(dir, base+".key")}
	if !hasKey {
		p.key = p.cert
	}
	l.pairs = append(l.pairs, p)
}

// addFolder adds one domain's folder. One without anything that looks like a
// certificate may be there for any reason.
func (l *listing) addFolder(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.strays = append(l.strays, err)
		return
	}
	if p, ok := domain(dir, entries); ok {
		l.pairs = append(l.pairs, p)
		return
	}
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		_, ext := split(e.Name())
		return ext == ".pem" || ext == ".crt" || ext == ".key"
	}) {
		l.strays = append(l.strays, fmt.Errorf("%s: want fullchain.pem and privkey.pem in it, or tls.crt and tls.key", dir))
	}
}

// domain is the pair of a folder that is one domain's. Half of it counts too,
// so that the other half is missed.
func domain(dir string, entries []os.DirEntry) (pair, bool) {
	for _, p := range ownFolder {
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == p.cert || e.Name() == p.key }) {
			return pair{filepath.Join(dir, p.cert), filepath.Join(dir, p.key)}, true
		}
	}
	return pair{}, false
}

func split(name string) (base, ext string) {
	ext = filepath.Ext(name)
	return strings.TrimSuffix(name, ext), ext
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
