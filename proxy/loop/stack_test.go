package loop

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// shakes is a Loop whose handshakes are with nobody.
type shakes struct {
	*Loop
	worked, stepped int
}

func newShakes(t *testing.T) *shakes {
	s := &shakes{Loop: New(NewSim(1))}
	t.Cleanup(s.EndShakes)
	return s
}

// begin begins a handshake that reads first and then ends as end does.
func (s *shakes) begin(end func() error) *Handshake {
	h := NewTLS(s.Loop, -1, func(c net.Conn) (*tls.Conn, error) {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		return nil, end()
	}, func(f func()) { s.worked++; f() }, func() { s.stepped++ }).Shake()
	h.Local()
	h.Step([]byte{0})
	return h
}

var errEnd = errors.New("the end")

func TestHandshake_LoopTakesAStepARound(t *testing.T) {
	s := newShakes(t)
	for range 3 {
		defer s.begin(nil).Abandon()
	}
	for i := range 3 {
		require.Equal(t, i, s.stepped)
		s.Step(-1) // which would wait for ever
	}
	require.Equal(t, 3, s.stepped)
	require.Zero(t, s.worked)
}

func TestHandshake_WorkersHaveWhatIsTooMuch(t *testing.T) {
	s := newShakes(t)
	for range maxChores {
		defer s.begin(nil).Abandon()
	}
	require.Zero(t, s.worked)
	defer s.begin(nil).Abandon()
	require.Equal(t, 1, s.worked)
	for range maxChores {
		s.Step(0)
	}
	require.Equal(t, maxChores+1, s.stepped)
}

func TestHandshake_WorkersHaveWhatTakesLong(t *testing.T) {
	s := newShakes(t)
	for range 100 {
		s.spent(10 * maxChore)
	}
	require.False(t, s.takes())
	for range 6 {
		s.spent(0)
	}
	require.True(t, s.takes(), "it was another program that took long")
	for range 1000 {
		s.spent(maxChore / 2)
		s.spent(maxChore / 2)
		s.spent(maxChore / 2)
		s.spent(20 * maxChore)
		require.True(t, s.takes())
	}
}

func TestHandshake_StackIsUsedAgain(t *testing.T) {
	s := newShakes(t)
	var used *stack
	for range 3 {
		h := s.begin(func() error { return errEnd })
		s.Step(-1)
		if used != nil {
			require.Same(t, used, h.stack)
		}
		used = h.stack
		h.Step([]byte{1})
		s.Step(-1)
		done, err := h.Done()
		require.True(t, done)
		require.Equal(t, errEnd, err)
		require.Equal(t, []*stack{used}, s.stacks)
	}
}

func TestHandshake_StackOfAPanicIsNot(t *testing.T) {
	s := newShakes(t)
	h := s.begin(func() error { panic("no") })
	s.Step(-1)
	h.Step([]byte{1})
	s.Step(-1)
	done, err := h.Done()
	require.True(t, done)
	var p *Panic
	require.ErrorAs(t, err, &p)
	require.Equal(t, "no", p.Value)
	require.Empty(t, s.stacks)
}

func TestHandshake_AbandonedBeforeItsStep(t *testing.T) {
	s := newShakes(t)
	h := s.begin(func() error { return errEnd })
	s.Step(-1)
	h.Step([]byte{1})
	h.Abandon()
	s.Step(-1)
	require.Equal(t, 1, s.stepped)
	require.Zero(t, s.worked, "it ends where its step would have been")
	require.Empty(t, s.stacks)
	for _, h := range []*Handshake{s.begin(nil), s.begin(nil)} {
		s.Step(-1)
		h.Step([]byte{1})
		defer h.Abandon() // and the Loop ends: TestMain counts the coroutines
	}
}
