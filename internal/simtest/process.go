package simtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/upstream"
)

// process is one life of the service: the real engine and the real store, on a disk of its own. When it crashes, or its store gives
// up, it is marked dead, and its disk is looked at as a crash leaves it. What is left of it runs on, for it cannot be stopped from
// outside: but nobody listens any more, and it reaches nobody.
type process struct {
	w      *world
	number int
	disk   *disk
	plan   faults

	store   *pebblestore.Store
	engine  *atmost.Engine
	network *upstream.Transport

	died     chan struct{} // closed when it is dead
	hurried  chan struct{} // closed when its disk is to take no time any more
	hurry    sync.Once
	handlers sync.WaitGroup

	dead  atomic.Bool
	mu    sync.Mutex
	ops   int   // of the disk
	syncs int   // of logs
	left  *disk // by the crash
}

// faults are what is going to happen to a process. Operations of the disk count from 1, 0 is never.
type faults struct {
	crashAt int // it dies before this operation
	share   int // and so much of what was not synced is left, in percent
	failAt  int // this operation fails, if it is one on a log. (A store that cannot write its manifest ends the process, or never opens.)
	stallAt int // this sync of a log takes longer than any lease
}

var errDead = errors.New("simtest: the process is dead")

// before is called before each operation of the disk that changes something.
func (p *process) before(kind opKind, name string) error {
	isLog := strings.HasSuffix(name, ".log")
	if kind == opRemove && (isLog || strings.HasSuffix(name, ".sst")) {
		p.wait(time.Duration(draw(p.w.seed, name, p.number) % uint64(time.Second))) // Pebble removes them in the background
	}
	p.mu.Lock()
	p.ops++
	op := p.ops
	if kind == opSync && isLog {
		p.syncs++
	}
	sync := p.syncs
	p.mu.Unlock()
	plan := p.plan
	if p.w.calm.Load() {
		plan = faults{}
	}
	switch {
	case p.isDead():
	case op == plan.crashAt:
		p.die(plan.share, "crashed before operation %d, %v %s; %d%% is left", op, kind, name, p.plan.share)
	case op == plan.failAt && (kind == opWrite || kind == opSync) && isLog:
		p.w.log("disk", "", "operation %d fails, %v %s", op, kind, name)
		return syscall.EIO
	case kind == opSync && isLog:
		takes := time.Duration(draw(p.w.seed, "sync", p.w.now())%2000) * time.Microsecond
		if sync == plan.stallAt {
			takes = 15*time.Second + 10000*takes
			p.w.log("disk", "", "a sync takes %v", takes)
		}
		p.wait(takes)
	}
	return nil
}

// wait lets an operation of the disk take its time.
func (p *process) wait(takes time.Duration) {
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.hurried:
	}
}

// die marks the process dead, and leaves a share of what was not synced.
func (p *process) die(share int, format string, args ...any) {
	if !p.dead.CompareAndSwap(false, true) {
		return
	}
	p.left = p.disk.crash(share, mix(p.w.seed+uint64(p.number)))
	p.w.crashes.Add(1)
	p.w.log("process", "", format, args...)
	close(p.died)
	p.hurryUp()
}

func (p *process) isDead() bool { return p.dead.Load() }
func (p *process) hurryUp()     { p.hurry.Do(func() { close(p.hurried) }) }

// start opens the store, and the engine over it.
func (p *process) start() (err error) {
	p.store, err = pebblestore.Open("store", pebblestore.Options{
		Clock: p.w.clock, Logger: slog.New(slog.DiscardHandler), FS: p.disk, Tune: p.tune,
		Fatal: func(err error) { p.die(p.plan.share, "its store gave up: %v", err) },
	})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	p.network = upstream.NewTransport(upstream.TransportOptions{Dial: p.w.bank.dial(p)})
	operations, err := p.operations()
	if err == nil {
		p.engine, err = atmost.New(context.Background(), observed{p.store, p}, atmost.Options{
			Operations: operations, Clock: p.w.clock, Housekeeping: atmost.MaxHousekeeping,
		})
	}
	return err
}

// tune keeps Pebble from doing anything on its own, at moments that do not depend on the seed, or in a way that stops virtual time.
func (p *process) tune(o *pebble.Options) {
	o.DisableAutomaticCompactions = true
	o.DisableTableStats = true
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	o.CacheSize = 1 << 20
	for i := range o.Levels {
		o.Levels[i].Compression = nil
	}
}

// stop ends what start began, as a process does that is told to end, or, of a dead one, what is left of it.
func (p *process) stop() {
	if p.engine != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		if p.isDead() {
			cancel()
		}
		p.engine.Close(ctx)
		cancel()
	}
	p.handlers.Wait()
	p.hurryUp()
	if p.network != nil {
		p.network.CloseIdleConnections()
	}
	if p.store != nil {
		err := p.store.Close()
		switch {
		case err == nil || p.isDead():
		case p.plan.failAt == 0:
			p.w.judge.complain("", "closing the store: %v", err)
		default:
			p.die(p.plan.share, "ends with an error: %v", err)
		}
	}
}

// The operations. Keys of a name have a retention that no run outlasts, but for brief's.
const (
	hold       = "hold"
	retry      = "retry"
	probe      = "probe"
	brief      = "brief"
	leaseHold  = "lease"
	leaseRetry = "lease-retry"
)

const (
	timeout      = 2 * time.Second
	settle       = timeout + 2*maxStall
	briefResults = 15 * time.Second
	briefKeys    = 30 * time.Second
)

func (p *process) operations() (map[string]atmost.Operation, error) {
	u, err := upstream.New(upstream.Config{
		URL: "http://bank/do", Transport: p.network, ForwardKey: upstream.ForwardOriginal, NotExecutedStatus: []int{http.StatusTooManyRequests}, ProbeURL: "http://bank/effects/{key}/{attempt}",
	})
	if err != nil {
		return nil, err
	}
	byService := atmost.Operation{Executor: u, Timeout: timeout}
	all := map[string]atmost.Operation{hold: byService}
	with := func(name string, change func(*atmost.Operation)) {
		o := byService
		change(&o)
		all[name] = o
	}
	with(retry, func(o *atmost.Operation) { o.OnUnknown = atmost.RetryUnknown })
	with(probe, func(o *atmost.Operation) { o.OnUnknown, o.Prober, o.ProbeSettle = atmost.ProbeUnknown, u, settle })
	with(brief, func(o *atmost.Operation) { o.ResultRetention, o.KeyRetention = briefResults, briefKeys })
	with(leaseHold, func(o *atmost.Operation) { o.Executor = nil })
	with(leaseRetry, func(o *atmost.Operation) { o.Executor, o.OnUnknown = nil, atmost.RetryUnknown })
	return all, nil
}

// observed is the store as the engine sees it. The judge sees each answer that it gives; a dead process gets none. Each call begins
// and ends a little late, by its own measure, so that no two of them meet by chance in an order that Go's scheduler decides.
type observed struct {
	*pebblestore.Store
	p *process
}

func (o observed) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	what := fmt.Sprintf("%T", event)
	if c, ok := event.(*atmost.Claim); ok {
		what = string(c.Token[:]) // of the self-test there are two at a time
	}
	if err := o.p.jitter(id.Key, what); err != nil {
		return atmost.Step{}, err
	}
	begin := o.p.w.judge.submits(id, event)
	step, err := o.Store.Apply(ctx, id, event)
	if o.p.isDead() {
		return atmost.Step{}, errDead
	}
	o.p.w.judge.applied(begin, id, event, step, err)
	if gone := o.p.jitter(id.Key, what); gone != nil {
		return atmost.Step{}, gone
	}
	return step, err
}

func (o observed) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if err := o.p.jitter(id.Key, "lookup"); err != nil {
		return atmost.Record{}, err
	}
	begin := o.p.w.judge.tick()
	r, err := o.Store.Lookup(ctx, id)
	if o.p.isDead() {
		return atmost.Record{}, errDead
	}
	if err == nil {
		o.p.w.judge.saw(begin, r)
	}
	if gone := o.p.jitter(id.Key, "lookup"); gone != nil {
		return atmost.Record{}, gone
	}
	return r, err
}

func (o observed) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	if err := o.p.jitter("", "list"); err != nil {
		return atmost.Page{}, err
	}
	page, err := o.Store.List(ctx, q)
	return page, errors.Join(err, o.p.jitter("", "list"))
}

func (o observed) Sweep(ctx context.Context, limit int) (atmost.Swept, error) {
	if err := o.p.jitter("", "sweep"); err != nil {
		return atmost.Swept{}, err
	}
	swept, err := o.Store.Sweep(ctx, limit)
	return swept, errors.Join(err, o.p.jitter("", "sweep"))
}

// jitter lets a moment pass that depends on what is done, and when.
func (p *process) jitter(key, what string) error {
	if strings.HasPrefix(key, "self-test") {
		key = "self-test"
	}
	if !p.isDead() {
		time.Sleep(time.Duration(1 + draw(p.w.seed, key+" "+what, p.w.now())%200_000))
	}
	if p.isDead() {
		return errDead
	}
	return nil
}
