// Package simtest tries the promise in a simulated world. The engine, the embedded store and the executor of HTTP upstreams are
// the real ones; the disk, the network, the upstream, the clients, the operators and the time are not, and everything that happens to
// them follows from one number, the seed. So a run that breaks a promise can be repeated, and looked into.
//
// A world lasts for some minutes of its own time, which passes in milliseconds (testing/synctest). Clients execute, claim and
// report, with keys that they share, and with other payloads than they should; operators settle what is unknown, now and then
// wrongly; the service is killed at any operation of its disk, which keeps any share of what was not synced, and killed again while
// it recovers; the disk fails, fills up and stalls; the upstream loses requests and replies, and has effects after everybody has given it
// up; the wall clock jumps. Then the world calms down, and what is left is held to what was promised.
//
// The judge (judge.go) sees every answer of the store, and the bank's ledger; porcupine (linear.go) sees what clients were
// told.
package simtest

import (
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
)

// Report is what came of one world.
type Report struct {
	Seed uint64
	// Hash is that of the trace: the same whenever the seed is.
	Hash uint64
	// Violations tell, in words, which promises were broken.
	Violations []string
	// Trace tells what happened, if that was asked for.
	Trace []string

	// Calls are what clients asked, Restarts those in an orderly way. On each crash a recovery follows.
	Calls, Effects, Crashes, Restarts int
}

// Run lets the world of a seed go by. Only one may run at a time in a process.
func Run(t *testing.T, seed uint64, traced bool) (r Report) {
	cryptotest.SetGlobalRandom(t, seed)
	var w *world
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed, traced)
		w.run()
	})
	w.ended = true
	w.checkHistory()
	return w.report()
}

type world struct {
	seed  uint64
	clock *clock
	bank  *bank
	judge *judge
	plan  plan
	calm  atomic.Bool // nothing goes wrong any more
	over  chan struct{}
	ended bool // virtual time, too

	mu      sync.Mutex
	current *process // nil while there is none

	crashes, restarts, calls atomic.Int64
	history                  history

	traceMu sync.Mutex
	traced  bool
	hash    hash.Hash64
	trace   []string
	line    []byte
}

// plan is what a seed has in mind.
type plan struct {
	lives  int // of the service
	jumps  bool
	full   bool
	keys   []key
	faults []faults // of each life
}

// key is one that clients share.
type key struct {
	id        atmost.ID
	operation string
}

func newWorld(seed uint64, traced bool) *world {
	w := &world{seed: seed, traced: traced, hash: fnv.New64a(), over: make(chan struct{}), clock: &clock{start: time.Now()}}
	w.bank = &bank{w: w, asked: map[string]bool{}}
	w.judge = newJudge(w)
	w.history.w = w
	w.makePlan()
	return w
}

// random returns the numbers of one actor: nobody else draws from them.
func (w *world) random(actor string) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, draw(w.seed, actor, 0)))
}

func (w *world) makePlan() {
	r := w.random("plan")
	w.plan = plan{lives: 2 + r.IntN(4), jumps: r.IntN(2) == 0, full: r.IntN(4) == 0}
	operations := []string{hold, hold, retry, probe, brief, leaseHold, leaseRetry}
	for n := range 3 + r.IntN(3) {
		w.plan.keys = append(w.plan.keys, key{atmost.ID{Scope: "s", Key: fmt.Sprint("key-", n)}, operations[r.IntN(len(operations))]})
	}
	for range w.plan.lives + 2 {
		f := faults{share: []int{0, 25, 50, 75, 100, r.IntN(101)}[r.IntN(6)]}
		switch r.IntN(8) {
		case 0:
			f.failAt = 1 + r.IntN(200)
		case 1:
			f.crashAt = 1 + r.IntN(30) // while it recovers, or soon after
		case 2:
			f.stallAt = 1 + r.IntN(60)
		default:
			f.crashAt = 1 + r.IntN(250)
		}
		w.plan.faults = append(w.plan.faults, f)
	}
}

// The length of a world, and of the calm at its end, which is longer than any lease, and than it takes to settle by asking.
const (
	trouble = 90 * time.Second
	quiet   = 90 * time.Second
)

// run is the whole of it.
func (w *world) run() {
	var actors sync.WaitGroup
	service := make(chan struct{})
	go func() {
		defer close(service)
		w.serve()
	}()
	for n := range clients {
		actors.Go(func() { w.client(n) })
	}
	actors.Go(w.operate)
	actors.Go(w.disturb)
	actors.Wait()
	time.Sleep(max(0, trouble-time.Duration(w.now())))
	w.calm.Store(true)
	w.log("world", "", "calm")
	w.clock.settle()
	time.Sleep(quiet)
	close(w.over)
	<-service
	w.bank.calls.Wait()
}

// serve keeps the service running: it starts it again whenever it has died.
func (w *world) serve() {
	disk := newDisk()
	var remains sync.WaitGroup
	defer remains.Wait()
	downtime := w.random("downtime")
	for life := 0; ; life++ {
		p := w.newProcess(life, disk)
		started := make(chan error, 1)
		remains.Go(func() { started <- p.start() })
		select {
		case <-p.died: // before it had started
			remains.Go(func() {
				<-started
				p.stop()
			})
		case err := <-started:
			switch {
			case p.isDead():
				remains.Go(p.stop)
			case err != nil:
				w.failedToStart(p, err)
			case w.live(p, &remains):
				w.end(p)
				return
			}
		}
		if p.isDead() {
			disk = p.left
		}
		time.Sleep(time.Duration(downtime.Int64N(int64(10 * time.Second))))
	}
}

// failedToStart is for a process that ended by itself because of an error.
func (w *world) failedToStart(p *process, err error) {
	if p.plan.failAt == 0 || w.calm.Load() {
		w.judge.complain("", "the service does not start: %v", err)
	}
	w.log("process", "", "does not start")
	p.stop()
}

// newProcess prepares the life of that number.
func (w *world) newProcess(life int, d *disk) *process {
	p := &process{w: w, number: life, disk: d, died: make(chan struct{}), hurried: make(chan struct{})}
	if !w.calm.Load() && life < len(w.plan.faults) {
		p.plan = w.plan.faults[life]
	}
	d.before, d.avail = p.before, w.free
	return p
}

// live has clients use the process until it dies, or is stopped in an orderly way, or the world is over, which it reports.
func (w *world) live(p *process, remains *sync.WaitGroup) (over bool) {
	w.log("process", "", "life %d began", p.number)
	w.become(p)
	restart := time.NewTimer(w.restartAfter(p))
	defer restart.Stop()
	select {
	case <-p.died:
		w.become(nil)
		remains.Go(p.stop)
	case <-restart.C:
		w.become(nil)
		w.log("process", "", "stops in an orderly way")
		w.restarts.Add(1)
		stopped := make(chan struct{})
		remains.Go(func() {
			p.stop()
			close(stopped)
		})
		select {
		case <-stopped:
		case <-p.died:
		}
	case <-w.over:
		w.become(nil)
		return true
	}
	return false
}

// restartAfter is when a process is to be stopped in an orderly way: most are not.
func (w *world) restartAfter(p *process) time.Duration {
	r := w.random(fmt.Sprint("restart ", p.number))
	if w.calm.Load() || r.IntN(3) > 0 || p.number > w.plan.lives {
		return 24 * time.Hour
	}
	return time.Duration(r.Int64N(int64(trouble)))
}

func (w *world) become(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = p
}

func (w *world) process() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// now is how old the world is, in nanoseconds.
func (w *world) now() int { return int(time.Since(w.clock.start)) }

// free is how much room the disk has.
func (w *world) free() uint64 {
	if w.plan.full && !w.calm.Load() && w.now()/int(10*time.Second)%3 == 1 {
		return 200 << 20
	}
	return 1 << 40
}

// log adds a line to the trace.
func (w *world) log(actor, key, format string, args ...any) {
	w.traceMu.Lock()
	defer w.traceMu.Unlock()
	w.line = fmt.Appendf(w.line[:0], "%12.6f %-9s %-6s ", time.Duration(w.now()).Seconds(), actor, key)
	w.line = fmt.Appendf(w.line, format, args...)
	_, _ = w.hash.Write(w.line)
	if w.traced {
		w.trace = append(w.trace, string(w.line))
	}
}

func (w *world) report() Report {
	return Report{
		Seed: w.seed, Hash: w.hash.Sum64(), Violations: w.judge.violations, Trace: w.trace,
		Calls: int(w.calls.Load()), Effects: len(w.bank.ledger),
		Crashes: int(w.crashes.Load()), Restarts: int(w.restarts.Load()),
	}
}

// clock is the machine's: its wall clock may jump.
type clock struct {
	start time.Time
	ahead atomic.Int64
}

func (c *clock) Now() time.Time         { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) Elapsed() time.Duration { return time.Since(c.start) }
func (c *clock) settle()                { c.ahead.Store(0) }

// disturb sets the wall clock.
func (w *world) disturb() {
	if !w.plan.jumps {
		return
	}
	r := w.random("disturb")
	for range 3 {
		time.Sleep(time.Duration(r.Int64N(int64(trouble / 3))))
		by := time.Duration(r.Int64N(int64(4*time.Minute))) - 2*time.Minute
		if r.IntN(4) == 0 {
			by *= 60
		}
		w.clock.ahead.Store(int64(by))
		w.log("clock", "", "is %v ahead", by)
	}
}

// ask has f use the service on behalf of a client, who learns nothing if it is not there, dies, or does not answer in time.
func (w *world) ask(patience time.Duration, f func(e *atmost.Engine)) (answered bool) {
	p := w.process()
	if p == nil {
		return false
	}
	done := make(chan struct{})
	p.handlers.Go(func() {
		defer close(done)
		f(p.engine)
	})
	gone := time.NewTimer(patience)
	defer gone.Stop()
	select {
	case <-done:
		return !p.isDead()
	case <-p.died:
	case <-gone.C:
	}
	return false
}

// end looks at what is left, and again after a last crash that loses all that is not durable.
func (w *world) end(p *process) {
	w.finalCheck(p)
	p.die(0, "crashes in the end")
	p.stop()
	last := w.newProcess(p.number+1, p.left)
	if err := last.start(); err != nil {
		w.judge.complain("", "in the end the service does not start: %v", err)
	} else {
		w.finalCheck(last)
	}
	last.stop()
}

// finalCheck holds what is left to what was promised.
func (w *world) finalCheck(p *process) {
	for _, k := range w.plan.keys {
		r, err := p.store.Lookup(context.Background(), k.id)
		if err != nil {
			w.judge.complain(k.id.Key, "in the end it cannot be looked up: %v", err)
			continue
		}
		w.judge.saw(w.judge.tick(), r)
		w.judge.closing(k, r)
		w.log("end", k.id.Key, "%v, attempt %d, %s", r.State, r.Attempt, r.Result)
	}
}
