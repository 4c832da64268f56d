package pgstore

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
)

// One statement of a kind is under way at a time, as fewer carry more each, unless that would hold up others: when more wait than
// one statement takes, or when none has begun for as long as stalled, up to batchesAtOnce are.
const (
	batchesAtOnce = 4
	stalled       = 50 * time.Millisecond
)

// batchBytes is how many bytes of results a statement carries before no more go along.
const batchBytes = 4 << 20

// batcher gathers calls of one kind. A batch is what waits when one before it has ended; a lone call waits for nobody.
type batcher struct {
	store *Store
	kind  kind

	mu      sync.Mutex
	queue   []*call
	running int
	begun   time.Time // when the last of those that run did
	armed   bool
	alarm   *time.Timer // rings, if armed, when those that run have stalled
}

func newBatcher(s *Store, k kind) *batcher {
	b := &batcher{store: s, kind: k}
	b.alarm = time.AfterFunc(time.Hour, b.ring)
	b.alarm.Stop()
	return b
}

// add has c answered. The caller counts among the store's calls. Where nothing else is to be done, and no standby to be waited
// for, the caller's goroutine does it, which is much faster than waking another.
func (b *batcher) add(c *call) {
	c.queue = b
	if !b.enter(c) {
		return
	}
	b.store.batch(b.kind, []*call{c}, c.began.Add(b.store.options.Timeout))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.running--
		return
	}
	b.store.calls.Go(b.run)
}

// enter queues c, or reports that the caller is to send it at once, as one of those that run.
func (b *batcher) enter(c *call) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.running == 0 || b.running < batchesAtOnce && (len(b.queue) >= b.store.options.BatchSize || c.began.Sub(b.begun) > stalled)
	at := free && b.store.options.Linger == 0 && !b.store.synchronous.Load() && len(b.queue) == 0
	if !at {
		b.queue = append(b.queue, c)
	}
	switch {
	case !free:
		b.arm()
	case at:
		b.running++
		b.begun = c.began
	default:
		b.start()
	}
	return at
}

// start has one more statement sent.
func (b *batcher) start() {
	b.running++
	b.begun = time.Now()
	b.store.calls.Go(b.run) // a call that waits counts among calls
}

// arm sees to it that somebody looks after those who wait, should nobody else come.
func (b *batcher) arm() {
	if !b.armed && b.running < batchesAtOnce {
		b.armed = true
		b.alarm.Reset(stalled - time.Since(b.begun))
	}
}

func (b *batcher) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	switch {
	case len(b.queue) == 0 || b.running == batchesAtOnce:
	case time.Since(b.begun) >= stalled:
		b.start()
		b.arm()
	default:
		b.arm()
	}
}

// forget takes out of the queue what nobody waits for any more. A call that went alone has no queue.
func (b *batcher) forget(c *call) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, c); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
	}
}

// run sends batches until nothing waits.
func (b *batcher) run() {
	for {
		if linger := b.store.options.Linger; linger > 0 {
			time.Sleep(linger)
		}
		batch := b.take()
		if batch == nil {
			return
		}
		b.store.batch(b.kind, batch, time.Now().Add(2*b.store.options.Timeout))
	}
}

// take removes what goes into one statement: of each ID one call, in the order in which every statement takes its locks. If nothing
// waits, the one who asked is done.
func (b *batcher) take() []*call {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.running--
		return nil
	}
	n, bytes := 0, 0
	for n < min(len(b.queue), b.store.options.BatchSize) && bytes < batchBytes {
		if f, ok := b.queue[n].event.(*atmost.Finish); ok {
			bytes += len(f.Outcome.Result)
		}
		n++
	}
	b.begun = time.Now()
	batch := slices.Clone(b.queue[:n])
	rest := copy(b.queue, b.queue[n:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	slices.SortStableFunc(batch, func(x, y *call) int { return compareIDs(x.id, y.id) })
	return batch
}

func compareIDs(x, y atmost.ID) int {
	return cmp.Or(strings.Compare(x.Scope, y.Scope), strings.Compare(x.Key, y.Key))
}

// shared is one statement for several calls, one for each ID and in the order of these.
type shared struct {
	deadline time.Time // of the statement
	calls    []*call
}

// share separates the calls of a batch, which is sorted, into those that go together and those that have to wait for them.
func share(batch []*call, deadline time.Time) *shared {
	sh := &shared{deadline: deadline, calls: batch[:1]}
	for _, c := range batch[1:] {
		if last := sh.calls[len(sh.calls)-1]; last.id == c.id {
			last.twins = append(last.twins, c)
			continue
		}
		sh.calls = append(sh.calls, c)
	}
	return sh
}

// of returns the call for id, nil if there is none.
func (sh *shared) of(id atmost.ID) *call {
	i, ok := slices.BinarySearchFunc(sh.calls, id, func(c *call, id atmost.ID) int { return compareIDs(c.id, id) })
	if !ok {
		return nil
	}
	return sh.calls[i]
}

// begin prepares a try: it forgets what an earlier one told, and drops the calls whose callers are gone. It returns those that waited
// for these, and have to go their own way.
func (sh *shared) begin() (left []*call) {
	sh.calls = slices.DeleteFunc(sh.calls, func(c *call) bool {
		c.found = nil
		if c.begin() {
			return false
		}
		left = append(left, c.twins...)
		return true
	})
	return left
}

// undone takes note that the statement had no effect.
func (sh *shared) undone() {
	for _, c := range sh.calls {
		c.undone()
	}
}
