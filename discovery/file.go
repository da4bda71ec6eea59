package discovery

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// filePoll is how often files are looked at. Polling sees what inotify does
	// not: network file systems, and swaps of a symlink further up the path.
	filePoll = time.Second
	// fileQuiet is how long files must stay as they are before they are read,
	// because editors and copies write in several steps.
	fileQuiet = 100 * time.Millisecond
	// fileMost ends the wait for quiet when something writes all the time.
	fileMost = 2 * time.Second
)

// File is the Source that reads files and folders and watches them. A change is
// what changes content: rewriting, renaming and swapping symlinks are alike,
// and touching is none. A folder changes with the names in it and with the
// content of its *.yml and *.yaml files.
type File struct {
	Paths []string // files and folders to watch, there or not
	// Load reads the files anew. It also names further files to watch, those
	// that it came across while reading.
	Load func() (Snapshot, []string, error)
	// OnReload, if set, is told how each Load after the first good one ended.
	// Then err means that the last Snapshot stays.
	OnReload func(err error)

	once  sync.Once
	again chan struct{} // holds one
}

// Reload makes Watch load the files as soon as it can, changed or not. It does
// not wait for that.
func (f *File) Reload() { poke(f.wake()) }

func (f *File) wake() chan struct{} {
	f.once.Do(func() { f.again = make(chan struct{}, 1) })
	return f.again
}

// Watch loads the files, publishes, and does so again after every change. It
// returns an error when the very first Load fails; later failures leave the
// last Snapshot in use and go to OnReload.
func (f *File) Watch(ctx context.Context, publish func(Snapshot)) error {
	paths := f.Paths
	loaded := look(paths, nil) // before Load, so that no change falls in between
	snapshot, more, err := f.Load()
	if err != nil {
		return err
	}
	publish(snapshot)
	paths = slices.Concat(f.Paths, more)
	loaded = loaded.extend(paths)
	tick := time.NewTicker(filePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake():
			loaded = look(paths, loaded)
		case <-tick.C:
			now := settle(ctx, paths, loaded)
			if now.same(loaded) || ctx.Err() != nil {
				continue
			}
			loaded = now
		}
		snapshot, more, err := f.Load()
		if err == nil {
			publish(snapshot)
			paths = slices.Concat(f.Paths, more)
			loaded = loaded.extend(paths)
		}
		if f.OnReload != nil {
			f.OnReload(err)
		}
	}
}

// settle looks at the paths and, if they have changed, until they are quiet.
func settle(ctx context.Context, paths []string, loaded sight) sight {
	now := look(paths, loaded)
	if now.same(loaded) {
		return now
	}
	for range int(fileMost / fileQuiet) {
		select {
		case <-ctx.Done():
			return now
		case <-time.After(fileQuiet):
		}
		last := now
		if now = look(paths, last); now.same(last) {
			break
		}
	}
	return now
}
