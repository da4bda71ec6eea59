package discovery

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOwnIDs(t *testing.T) {
	id := strings.Repeat("ab12", 16)
	other := strings.Repeat("cd34", 16)
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, idsIn(ownMount, []byte(text)))
	}
	f("711 700 8:1 /var/lib/docker/containers/"+id+"/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n", id)
	f("1 2 0:1 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/"+other+"/diff\n"+
		"711 700 8:1 /data/containers/"+id+"/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw\n", id)
	// A host sees mounts of its containers.
	f("88 25 0:50 / /var/lib/docker/containers/" + other + "/mounts/shm rw - tmpfs shm rw\n")
	f("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n")

	f = func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, idsIn(ownGroup, []byte(text)))
	}
	f("12:pids:/docker/"+id+"\n", id)
	f("0::/system.slice/docker-"+id+".scope\n", id)
	f("4:memory:/kubepods/burstable/pod1/"+id+"\n", id)
	f("0::/\n")
	f("0::/user.slice/user-1000.slice\n")

	require.Equal(t, []string{"0123456789ab"}, idsIn(ownName, []byte("0123456789ab")))
	require.Empty(t, idsIn(ownName, []byte("web-1")))
}
