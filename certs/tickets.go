package certs

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ticketKeyFresh is how long a key makes tickets, and ticketKeyLife how long
	// those are taken that it has made (RFC 8446 section 4.6.1: at most seven days).
	ticketKeyFresh = 24 * time.Hour
	ticketKeyLife  = 7 * 24 * time.Hour
)

// ticketKey is a key of session tickets.
type ticketKey struct {
	made time.Time
	key  [32]byte
}

// ticketKeys are those that count. crypto/tls would rotate its own in the same way,
// but gives them to nobody, and a successor is to have them.
type ticketKeys struct {
	config tls.Config // has the keys for their use
	now    func() time.Time
	fresh  atomic.Int64 // until when there is nothing to do, in Unix seconds

	mu   sync.Mutex
	list []ticketKey // guarded by mu; newest first
}

// current is the config with the keys of now.
func (t *ticketKeys) current() *tls.Config {
	if t.now().Unix() >= t.fresh.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.rotate()
	}
	return &t.config
}

// rotate makes a key if the newest is not fresh, and forgets old ones. The caller
// has mu.
func (t *ticketKeys) rotate() {
	now := t.now()
	t.list = slices.DeleteFunc(t.list, func(k ticketKey) bool { return now.Sub(k.made) >= ticketKeyLife })
	if len(t.list) == 0 || now.Sub(t.list[0].made) >= ticketKeyFresh {
		k := ticketKey{made: now}
		_, _ = rand.Read(k.key[:]) // never fails
		t.list = slices.Insert(t.list, 0, k)
	}
	keys := make([][32]byte, len(t.list))
	for i, k := range t.list {
		keys[i] = k.key
	}
	t.config.SetSessionTicketKeys(keys)
	t.fresh.Store(t.list[0].made.Add(ticketKeyFresh).Unix())
}

// ticketKeySize is that of a key among TicketKeys: when it was made, in Unix
// seconds, and the key.
const ticketKeySize = 8 + 32

// TicketKeys are the secrets of session tickets, for a process that is to go on
// with them. Nobody else may see them, and they are not for disks.
func (s *Server) TicketKeys() (b []byte) {
	s.tickets.current()
	s.tickets.mu.Lock()
	defer s.tickets.mu.Unlock()
	for _, k := range s.tickets.list {
		b = binary.BigEndian.AppendUint64(b, uint64(k.made.Unix()))
		b = append(b, k.key[:]...)
	}
	return b
}

// SetTicketKeys takes over what another process had as its TicketKeys. It is called
// before the first handshake.
func (s *Server) SetTicketKeys(b []byte) error {
	if len(b) == 0 || len(b)%ticketKeySize != 0 {
		return errors.New("session ticket keys: not in the form of this version")
	}
	s.tickets.mu.Lock()
	defer s.tickets.mu.Unlock()
	s.tickets.list = nil
	for ; len(b) > 0; b = b[ticketKeySize:] {
		k := ticketKey{made: time.Unix(int64(binary.BigEndian.Uint64(b)), 0)}
		copy(k.key[:], b[8:])
		s.tickets.list = append(s.tickets.list, k)
	}
	s.tickets.rotate()
	return nil
}
