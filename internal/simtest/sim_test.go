package simtest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/proof"
)

// The flags come after the package: go test ./internal/simtest -run 'TestSimulation$' -seeds 1000.
var (
	seeds  = flag.Uint64("seeds", 0, "try so many seeds, with one process for each core; 0: a few, in this process")
	from   = flag.Uint64("from", 0, "the first seed")
	seed   = flag.Int64("seed", -1, "try this seed only, and tell what happens")
	figure = flag.String("figures", "", "write what came of it to this file")
	worker = flag.String("worker", "", "try the seeds of one part, as 0/2, in this process, and write to -figures what came of it")
)

// few is how many seeds there are time for among all other tests, with the race detector.
const few = 80

// Figures are what came of many worlds.
type Figures struct {
	Seeds   uint64 `json:"seeds"`
	Broken  uint64 `json:"broken"` // seeds that broke a promise
	Calls   int    `json:"calls"`
	Effects int    `json:"effects"`
	// Crashes are those of the process; a recovery follows on each.
	Crashes  int `json:"crashes"`
	Restarts int `json:"restarts"` // in an orderly way
	// Repeated seeds were tried twice, and of them were so many not the same again.
	Repeated       int      `json:"repeated"`
	Irreproducible int      `json:"irreproducible"`
	Seconds        float64  `json:"seconds"`
	Violations     []string `json:"violations"`
}

func (f *Figures) add(g Figures) {
	f.Seeds += g.Seeds
	f.Broken += g.Broken
	f.Calls += g.Calls
	f.Effects += g.Effects
	f.Crashes += g.Crashes
	f.Restarts += g.Restarts
	f.Repeated += g.Repeated
	f.Irreproducible += g.Irreproducible
	f.Violations = append(f.Violations, g.Violations...)
}

// TestSimulation tries seeds, and tells each that breaks a promise.
func TestSimulation(t *testing.T) {
	switch {
	case *seed >= 0:
		r := Run(t, uint64(*seed), true)
		t.Log("what happened:\n" + strings.Join(r.Trace, "\n"))
		for _, v := range r.Violations {
			t.Error(v)
		}
	case *worker != "":
		var part, of uint64
		if _, err := fmt.Sscanf(*worker, "%d/%d", &part, &of); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(try(t, part, of, *seeds))
		if err == nil {
			err = os.WriteFile(*figure, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	case *seeds > 0:
		manage(t)
	default:
		f := try(t, 0, 1, few)
		t.Logf("%d seeds, %d calls, %d effects, %d crashes", f.Seeds, f.Calls, f.Effects, f.Crashes)
		if f.Crashes < few {
			t.Errorf("there were %d crashes only: nothing was tried", f.Crashes)
		}
	}
}

// repeated is how many seeds there are for each that is tried twice, to see that it is the same again.
const repeated = 50

// try tries every seed of its part.
func try(t *testing.T, part, of, n uint64) (f Figures) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection within a world would change the order of its goroutines
	for s := *from + part; s < *from+n; s += of {
		if s%16 == 0 {
			runtime.GC()
		}
		r := Run(t, s, false)
		f.count(t, r)
		if s/of%repeated == 0 {
			f.Repeated++
			if again := Run(t, s, false); again.Hash != r.Hash {
				f.Irreproducible++
				t.Logf("seed %d was not the same again", s)
			}
		}
		if f.Broken >= 3 {
			break
		}
	}
	return f
}

// count adds what came of one world. A promise that was broken is told with all that happened to the key.
func (f *Figures) count(t *testing.T, r Report) {
	f.Seeds++
	f.Calls += r.Calls
	f.Effects += r.Effects
	f.Crashes += r.Crashes
	f.Restarts += r.Restarts
	if len(r.Violations) == 0 {
		return
	}
	f.Broken++
	f.Violations = append(f.Violations, fmt.Sprintf("seed %d: %s", r.Seed, r.Violations[0]))
	t.Errorf("seed %d broke a promise: %s\nRepeat it with: go test ./internal/simtest -run 'TestSimulation$' -v -seed %d\n%s",
		r.Seed, strings.Join(slices.Compact(r.Violations), "\n"), r.Seed, strings.Join(about(keyOf(r.Violations[0]), Run(t, r.Seed, true).Trace), "\n"))
}

// about returns the lines of a trace that are about a key, and those about none.
func about(key string, trace []string) []string {
	return slices.DeleteFunc(trace, func(line string) bool { return strings.Contains(line, " key-") && !strings.Contains(line, " "+key+" ") })
}

// manage has one process for each core try a part of the seeds: a world needs one to itself.
func manage(t *testing.T) {
	begin, of := time.Now(), runtime.NumCPU()
	all, failed := Figures{}, false
	type result struct {
		f   Figures
		out []byte
		err error
	}
	results := make(chan result)
	for part := range of {
		go func() {
			var r result
			file := filepath.Join(t.TempDir(), fmt.Sprint(part))
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSimulation$", "-test.timeout", "0",
				"-worker", fmt.Sprintf("%d/%d", part, of), "-seeds", fmt.Sprint(*seeds), "-from", fmt.Sprint(*from), "-figures", file)
			c.Env = append(os.Environ(), "GOMAXPROCS=1")
			r.out, r.err = c.CombinedOutput()
			if b, err := os.ReadFile(file); err == nil {
				_ = json.Unmarshal(b, &r.f) // what is missing is seen below
			}
			results <- r
		}()
	}
	for range of {
		r := <-results
		if all.add(r.f); r.err != nil {
			failed = true
			t.Errorf("%v\n%s", r.err, r.out)
		}
	}
	all.Seconds = time.Since(begin).Seconds()
	if !failed && all.Seeds != *seeds {
		t.Errorf("%d seeds were tried, of %d", all.Seeds, *seeds)
	}
	fmt.Printf("simulation: %d seeds, %d crashes and recoveries, %d calls, %d broken promises; %d seeds repeated, %d not the same; %.0f s\n",
		all.Seeds, all.Crashes, all.Calls, all.Broken, all.Repeated, all.Irreproducible, all.Seconds)
	if *figure != "" {
		if err := proof.Write(*figure, all); err != nil {
			t.Error(err)
		}
	}
}
