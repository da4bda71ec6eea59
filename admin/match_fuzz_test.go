package admin

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzExplain(f *testing.F) {
	table := shop(f)
	for _, url := range []string{"http://arzur.net/api/x", "arzur.net:81", "udp://[::1]:53", "https://a%2Fb/%zz", "http://u@h:80?#", "tls://db.net:5432", "http://*"} {
		f.Add(url, "GET", "Host: x", "127.0.0.1")
	}
	f.Fuzz(func(t *testing.T, url, method, header, client string) {
		answers, err := Explain(table, &Question{URL: url, Method: method, Header: []string{header}, Client: client}, true, nil)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		for i := range answers {
			require.NotEmpty(t, answers[i].Tried)
			require.Contains(t, answers[i].String(), "-> ")
		}
	})
}
