package loop

import "golang.org/x/sys/unix"

// noSYN drops segments that have SYN and not ACK: the first of a connection. The
// filter of a TCP socket sees the segment from its header on, and the flags are
// byte 13 of that (RFC 9293, section 3.1).
var noSYN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// quiesce has the kernel drop the first segment of every new connection. The
// client repeats it after a second, and then finds the socket closed or another
// in its place. An error leaves things as they are: closing may then cut those
// who connect at that moment.
func quiesce(fd int) {
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]})
}
