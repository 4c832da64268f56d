// Command bench compares Atmost with what its users would write instead, on one machine and in one run: the contenders
// take turns, so that what else the machine does meets all of them, and only their ratios are to be trusted.
//
//	go run . -clients 1,64,256 -rounds 10
//
// It starts everything it needs: a PostgreSQL of its own, on a disk and with the durability settings that PostgreSQL has by
// default, an upstream that answers at once, the plain design, and the real program, built from this tree.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		role    = flag.String("role", "", "what to be, for processes that this program starts: plain or upstream")
		args    = roleArguments{}
		clients = flag.String("clients", "1,64,256", "how many clients ask at a time, one measurement for each number")
		rounds  = flag.Int("rounds", 10, "how many turns each contender has")
		turn    = flag.Duration("turn", 2*time.Second, "how long a turn lasts")
		out     = flag.String("json", "", "file to write the figures to")
	)
	flag.StringVar(&args.database, "database", "", "for -role plain: the URL of its database")
	flag.StringVar(&args.upstream, "upstream", "", "for -role plain: the URL of its upstream")
	flag.Parse()
	if *role != "" {
		return play(ctx, *role, args)
	}
	counts, err := numbers(*clients)
	if err != nil {
		return err
	}
	f := newFigures()
	if err := measure(ctx, counts, *rounds, *turn, f); err != nil {
		return err
	}
	if *out == "" {
		return nil
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o644)
}

func numbers(list string) ([]int, error) {
	var counts []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, errors.New("-clients takes numbers, with commas between them")
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// measure lets the contenders take turns, and prints a table.
func measure(ctx context.Context, counts []int, rounds int, turn time.Duration, f *figures) error {
	s, err := setUp(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Println(f.title())
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "clients\tplain/s\tatmost/s\tratio\tof a round\tplain p50/p99 ms\tatmost p50/p99 ms\tCPU µs each, own + database: plain\tatmost\t")
	for _, n := range counts {
		c := comparison{Clients: n}
		for round := range rounds + 1 {
			both := []*side{&c.Plain, &c.Atmost}
			if round%2 == 1 {
				both[0], both[1] = both[1], both[0]
			}
			for _, x := range both {
				if err := s.turn(ctx, x, x == &c.Atmost, n, turn, round > 0); err != nil {
					return err
				}
			}
		}
		c.conclude()
		fmt.Fprintln(table, c.row())
		f.Comparisons = append(f.Comparisons, c)
	}
	return table.Flush()
}

// figures are the outcome of a run.
type figures struct {
	Date, Machine, Go string
	Comparisons       []comparison
}

func newFigures() *figures {
	return &figures{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Machine: fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Go: runtime.Version(),
	}
}

func (f *figures) title() string {
	return fmt.Sprintf("First executions over HTTP on one PostgreSQL, %s, %s, %s", f.Date, f.Machine, f.Go)
}
