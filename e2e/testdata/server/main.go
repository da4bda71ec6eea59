// Command server is what the tests put behind lb: it answers with its host's name
// and the path, fails its health check until it is told otherwise, and when it is
// told to stop it takes no new connection, answers what is under way and ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// healthy is a file that is there while the server is healthy.
const healthy = "/healthy"

func main() {
	port := flag.Int("port", 80, "where to listen")
	check := flag.Bool("check", false, "find out whether a server is healthy instead of serving")
	linger := flag.Duration("linger", 0, "how long to go on listening once told to stop")
	version := flag.String("version", "1", "part of the answer")
	flag.Parse()
	if *check {
		if _, err := os.Stat(healthy); err != nil {
			os.Exit(1)
		}
		return
	}
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	s := http.Server{Addr: fmt.Sprint(":", *port)}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Server", name)
		w.Header().Set("X-Version", *version)
		if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
			time.Sleep(d)
		}
		fmt.Fprintf(w, "%s %s\n", name, r.URL.Path)
	})
	http.HandleFunc("/become-healthy", func(http.ResponseWriter, *http.Request) {
		if err := os.WriteFile(healthy, nil, 0o600); err != nil {
			log.Fatal(err)
		}
	})
	http.HandleFunc("/become-sick", func(http.ResponseWriter, *http.Request) {
		if err := os.Remove(healthy); err != nil {
			log.Fatal(err)
		}
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-stop
		time.Sleep(*linger)
		if err := s.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
		close(done)
	}()
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done
}
