//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// kind is something that contenders are paid for in CPU time.
type kind struct {
	title, short string // in the heads of tables
	price        func(r running, ctx context.Context, d time.Duration) (float64, error)
}

// prices is what one contender takes for one of each kind: µs of CPU, medians of
// the rounds.
type prices struct {
	contender string
	each      []float64
}

// measurePrices starts all contenders and has them do one kind after the other,
// round by round. The order turns as in measureSpeed.
func measurePrices(ctx context.Context, o options, s site, contenders []contender, what string, kinds []kind) (results []prices, err error) {
	fmt.Printf("%s: %d rounds of %s\n", what, o.rounds, o.duration)
	all, stop, err := startAll(s, contenders)
	defer stop()
	if err != nil {
		return nil, err
	}
	paid := make([][][]float64, len(all)) // by contender and kind
	for n := range o.rounds {
		for i := range all {
			at := (i + n) % len(all)
			paid[at] = append(paid[at], make([][]float64, len(kinds)-len(paid[at]))...)
			fmt.Printf("  round %d  %-14s", n+1, all[at].name)
			for j, k := range kinds {
				price, err := k.price(all[at], ctx, o.duration)
				if err != nil {
					return nil, err
				}
				fmt.Printf(" %8.1f µs %s", price, k.short)
				paid[at][j] = append(paid[at][j], price)
			}
			fmt.Println()
		}
	}
	for i, r := range all {
		p := prices{contender: r.name}
		for _, rounds := range paid[i] {
			p.each = append(p.each, median(rounds))
		}
		results = append(results, p)
	}
	return results, nil
}

// visitors is how many clients visit a contender at the same time.
const visitors = 16

// price has clients visit r again and again for d, and returns what one visit
// took r in µs of CPU. visit gets the number of the client and that of its visit.
func (r running) price(ctx context.Context, d time.Duration, visit func(client, n int) error) (float64, error) {
	before, err := r.usage()
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", r.name, err)
	}
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	var done atomic.Int64
	errs := make([]error, visitors)
	var clients sync.WaitGroup
	for i := range visitors {
		clients.Go(func() { // ends with ctx, or with its first error
			for n := 0; ctx.Err() == nil; n++ {
				if errs[i] = visit(i, n); errs[i] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	clients.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("visit %s: %w", r.name, err)
	}
	after, err := r.usage()
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", r.name, err)
	}
	return float64((after.cpu - before.cpu).Microseconds()) / float64(done.Load()), nil
}
