package discovery

import (
	"crypto/sha256"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stampGrain is the coarsest clock that file systems stamp changes with. A file
// may change again within it without its time stamp showing it.
const stampGrain = 2 * time.Second

// sight is how files and folders looked at one moment, by path.
type sight map[string]glance

type glance struct {
	sum  [sha256.Size]byte // of the content, or of what stands in its place
	info fs.FileInfo       // nil unless it is a file that could be read
	at   time.Time         // when the content was read
}

// look is how paths look now. Files whose stamps are as in last, and had time
// to tell, are not read again.
func look(paths []string, last sight) sight {
	s := make(sight, len(last))
	for _, p := range paths {
		s.look(p, last)
	}
	return s
}

func (s sight) look(path string, last sight) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		s.lookInside(path, last)
		return
	}
	s.lookAt(path, last)
}

func (s sight) lookInside(folder string, last sight) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		s[folder] = standIn(err.Error())
		return
	}
	var names strings.Builder
	for _, e := range entries {
		names.WriteString(e.Name() + "\x00")
		if ext := filepath.Ext(e.Name()); ext == ".yml" || ext == ".yaml" {
			s.lookAt(filepath.Join(folder, e.Name()), last)
		}
	}
	s[folder] = standIn(names.String())
}

func (s sight) lookAt(path string, last sight) {
	if _, done := s[path]; done {
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		s[path] = standIn(err.Error())
	case !info.Mode().IsRegular():
		// Reading a pipe would wait, and take what Load should get.
		s[path] = standIn(info.Mode().String())
	case last[path].still(info):
		s[path] = last[path]
	default:
		s[path] = read(path, info)
	}
}

// extend is s for the given paths, looking now at those that s does not have.
func (s sight) extend(paths []string) sight {
	wider := look(paths, s)
	for path := range wider {
		if g, ok := s[path]; ok {
			wider[path] = g
		}
	}
	return wider
}

func (s sight) same(o sight) bool {
	return maps.EqualFunc(s, o, func(a, b glance) bool { return a.sum == b.sum })
}

// still says whether the stamps of info prove that the content is as it was.
func (g glance) still(info fs.FileInfo) bool {
	return g.info != nil && os.SameFile(g.info, info) && g.info.Size() == info.Size() &&
		g.info.ModTime().Equal(info.ModTime()) && g.at.Sub(info.ModTime()) > stampGrain
}

func standIn(text string) glance { return glance{sum: sha256.Sum256([]byte("\x00" + text))} }

func read(path string, info fs.FileInfo) glance {
	at := time.Now()
	file, err := os.Open(path)
	if err != nil {
		return standIn(err.Error())
	}
	defer func() { _ = file.Close() }() // was only read
	content := sha256.New()
	if _, err := io.Copy(content, file); err != nil {
		return standIn(err.Error())
	}
	g := glance{info: info, at: at}
	content.Sum(g.sum[:0])
	return g
}
