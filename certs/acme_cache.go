package certs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

// ErrLocked says that another program has a lock.
var ErrLocked = errors.New("another lb is at it")

// Cache is where certificates and the account outlive the program, and where
// several programs share them and their challenges: a Folder or a Consul.
type Cache interface {
	autocert.Cache
	// Peek is Get for those who cannot wait for the network. It may miss what
	// another put less than Lag ago.
	Peek(key string) ([]byte, bool)
	Lag() time.Duration
	// Lock lets one program alone do what is to be done about key. held ends with
	// ctx and when the lock is lost. The error is ErrLocked if another has it.
	Lock(ctx context.Context, key string) (held context.Context, unlock func(), err error)
	// Follow calls changed with the keys of notes and locks, until ctx ends: after
	// each change, and when it is unclear whether there was one.
	Follow(ctx context.Context, changed func(key string))
}

// Folder is a Cache in a folder, laid out as autocert's. Programs on one machine
// may share it, such as the old and the new one of a hand-over.
type Folder struct {
	autocert.DirCache
}

// NewFolder makes sure that the folder is there and can be written to.
func NewFolder(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f, err := os.CreateTemp(path, "probe-")
	if err != nil {
		return nil, fmt.Errorf("cache %q cannot be written to: %w", path, err)
	}
	_ = f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &Folder{autocert.DirCache(path)}, nil
}

// Peek reads the file: that takes no network.
func (f *Folder) Peek(key string) ([]byte, bool) {
	data, err := f.Get(context.Background(), key)
	return data, err == nil
}

// Lag is none.
func (f *Folder) Lag() time.Duration { return 0 }

// Lock locks a file, which the system unlocks should the program die. Files stay,
// for one that is removed could be locked by two.
func (f *Folder) Lock(ctx context.Context, key string) (context.Context, func(), error) {
	file, err := os.OpenFile(filepath.Join(string(f.DirCache), filepath.Clean("/"+key+lockSuffix)), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil, ErrLocked
		}
		return nil, nil, fmt.Errorf("lock %q: %w", file.Name(), err)
	}
	return ctx, func() { _ = file.Close() }, nil
}

// Follow has nothing to tell: who finds a name locked looks again.
func (f *Folder) Follow(context.Context, func(string)) {}
