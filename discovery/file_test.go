package discovery

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arzur.net/lb/rules"
)

// loadFiles is a Load that makes one rule per file, named by its content; a
// file that says "broken" is.
func loadFiles(paths ...string) func() (Snapshot, []string, error) {
	return func() (Snapshot, []string, error) {
		var s Snapshot
		var files []string
		for _, p := range paths {
			if info, err := os.Stat(p); err == nil && info.IsDir() {
				inside, _ := filepath.Glob(filepath.Join(p, "*.yml"))
				files = append(files, inside...)
				continue
			}
			files = append(files, p)
		}
		for _, p := range files {
			text, err := os.ReadFile(p)
			if err != nil {
				return Snapshot{}, nil, err
			}
			if string(text) == "broken" {
				return Snapshot{}, nil, errors.New("broken")
			}
			s.Rules = append(s.Rules, rules.Rule{Name: string(text)})
		}
		return s, files, nil
	}
}

func names(s Snapshot) string {
	var all []string
	for _, r := range s.Rules {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestFile_IsASource(t *testing.T) {
	f := func(change func(t *testing.T, path, text string)) {
		t.Helper()
		testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
			path := filepath.Join(t.TempDir(), "rules.yml")
			write(t, path, "1")
			s := &File{Paths: []string{path}, Load: loadFiles(path)}
			return s, func(v string) { change(t, path, v) }, names
		})
	}
	f(write)
	f(func(t *testing.T, path, text string) { // as most editors do
		write(t, path+"~", text)
		require.NoError(t, os.Rename(path+"~", path))
	})
	f(func(t *testing.T, path, text string) {
		target := filepath.Join(t.TempDir(), "rules.yml")
		write(t, target, text)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Symlink(target, path))
	})
}

func TestFile_FolderIsASource(t *testing.T) {
	testSource(t, func(t *testing.T) (Source, func(string), func(Snapshot) string) {
		folder := t.TempDir()
		// A Kubernetes volume: files are links through ..data, which is swapped.
		swap := func(v string) {
			inside := t.TempDir()
			write(t, filepath.Join(inside, "a.yml"), v)
			require.NoError(t, os.Symlink(inside, filepath.Join(folder, "..data_tmp")))
			require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
		}
		swap("1")
		require.NoError(t, os.Symlink(filepath.Join("..data", "a.yml"), filepath.Join(folder, "a.yml")))
		return &File{Paths: []string{folder}, Load: loadFiles(folder)}, swap, names
	})
}

// history is what a File did, for tests to read while it runs.
type history struct {
	mu        sync.Mutex
	published []string
	reloads   []error
}

func (h *history) snapshots() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.published)
}

func (h *history) results() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.reloads)
}

// watchFile runs f while body changes things. It is for use in a bubble.
func watchFile(t *testing.T, f *File, body func(wait func(), h *history)) {
	t.Helper()
	h := &history{}
	f.OnReload = func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.reloads = append(h.reloads, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // ends with cancel
		done <- f.Watch(ctx, func(s Snapshot) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.published = append(h.published, names(s))
		})
	}()
	synctest.Wait()
	body(func() {
		time.Sleep(3 * time.Second) // of the bubble's clock
		synctest.Wait()
	}, h)
	cancel()
	require.NoError(t, <-done)
}

func TestFile_FolderNoticesNewAndRemovedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		a, b := filepath.Join(folder, "a.yml"), filepath.Join(folder, "b.yml")
		write(t, a, "a")
		watchFile(t, &File{Paths: []string{folder}, Load: loadFiles(folder)}, func(wait func(), h *history) {
			write(t, b, "b")
			wait()
			write(t, b, "c")
			wait()
			require.NoError(t, os.Remove(a))
			wait()
			require.Equal(t, []string{"a", "a b", "a c", "c"}, h.snapshots())
		})
	})
}

func TestFile_BrokenFileKeepsTheLastSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.yml")
		write(t, path, "a")
		watchFile(t, &File{Paths: []string{path}, Load: loadFiles(path)}, func(wait func(), h *history) {
			write(t, path, "broken")
			wait()
			wait()
			require.Equal(t, []string{"a"}, h.snapshots())
			require.Len(t, h.results(), 1, "said once")
			require.EqualError(t, h.results()[0], "broken")
			require.NoError(t, os.Remove(path))
			wait()
			require.Len(t, h.results(), 2)
			require.ErrorIs(t, h.results()[1], os.ErrNotExist)
			write(t, path, "b")
			wait()
			require.Equal(t, []string{"a", "b"}, h.snapshots())
			require.NoError(t, h.results()[2])
		})
	})
}

func TestFile_BrokenAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yml")
	s := &File{Paths: []string{path}, Load: loadFiles(path)}
	err := s.Watch(t.Context(), func(Snapshot) { t.Error("published") })
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFile_TouchIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.yml")
		write(t, path, "a")
		watchFile(t, &File{Paths: []string{path}, Load: loadFiles(path)}, func(wait func(), h *history) {
			write(t, path, "a")
			wait()
			require.Equal(t, []string{"a"}, h.snapshots())
			require.Empty(t, h.results())
		})
	})
}

func TestFile_ReloadLoadsUnchangedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.yml")
		write(t, path, "a")
		f := &File{Paths: []string{path}, Load: loadFiles(path)}
		watchFile(t, f, func(wait func(), h *history) {
			f.Reload()
			synctest.Wait()
			require.Equal(t, []string{"a", "a"}, h.snapshots())
			write(t, path, "b")
			f.Reload()
			synctest.Wait()
			wait()
			require.Equal(t, []string{"a", "a", "b"}, h.snapshots(), "the change is not loaded twice")
			require.Equal(t, []error{nil, nil}, h.results())
		})
	})
}

func TestFile_WaitsUntilWritingHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.yml")
		write(t, path, "a")
		watchFile(t, &File{Paths: []string{path}, Load: loadFiles(path)}, func(wait func(), h *history) {
			time.Sleep(910 * time.Millisecond) // so that no write coincides with a look
			for i := range 15 {
				write(t, path, strings.Repeat("x", i))
				time.Sleep(fileQuiet / 2)
			}
			write(t, path, "whole")
			wait()
			require.Equal(t, []string{"a", "whole"}, h.snapshots())
		})
	})
}

func TestFile_WatchesWhatLoadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		path, page := filepath.Join(folder, "rules.yml"), filepath.Join(folder, "503.html")
		write(t, path, "a")
		write(t, page, "sorry")
		load := loadFiles(path)
		f := &File{Paths: []string{path}, Load: func() (Snapshot, []string, error) {
			s, files, err := load()
			return s, append(slices.Clone(files), page), err
		}}
		watchFile(t, f, func(wait func(), h *history) {
			write(t, page, "so sorry")
			wait()
			require.Len(t, h.snapshots(), 2)
		})
	})
}

func TestFile_DoesNotReadPipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules.yml")
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		load := func() (Snapshot, []string, error) {
			return Snapshot{Rules: []rules.Rule{{Name: "from the pipe"}}}, []string{path}, nil
		}
		watchFile(t, &File{Paths: []string{path}, Load: load}, func(wait func(), h *history) {
			wait()
			require.Equal(t, []string{"from the pipe"}, h.snapshots())
		})
	})
}

func TestSight_SameSizeWithinTheStampsGrainIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yml")
	write(t, path, "a")
	stamp := time.Now()
	require.NoError(t, os.Chtimes(path, stamp, stamp))
	before := look([]string{path}, nil)
	write(t, path, "b")
	require.NoError(t, os.Chtimes(path, stamp, stamp))
	require.False(t, look([]string{path}, before).same(before))
}

func TestSight_OldFilesAreNotReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yml")
	write(t, path, "a")
	stamp := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, stamp, stamp))
	before := look([]string{path}, nil)
	g := before[path]
	g.sum[0]++ // a sum that only survives if the file is not read
	before[path] = g
	require.True(t, look([]string{path}, before).same(before))
}
