package main

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun_LogsWhoIsEjectedAndWhoAnswersAgain(t *testing.T) {
	port, server := freePort(t), freePort(t)
	p := start(t, "-log-format", "json", "-config", write(t, "rules.yml", rulesFor(port, local(server))))
	for range 3 {
		require.Contains(t, visit(t, port), "502 ")
	}
	p.await(`"msg":"server is ejected"`, `"backend":"`+local(server)+`"`, `"reason":"ejected for 1s: connection refused"`)
	l, err := net.Listen("tcp", local(server))
	require.NoError(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "one") })}
	go func() { _ = s.Serve(l) }() // ends with Close
	defer s.Close()
	require.Eventually(t, func() bool { text, _ := fetch(port); return text == "200 one" }, patience, 20*millisecond)
	p.await(`"msg":"server answers again"`, `"backend":"`+local(server)+`"`)
}
