package pgstore

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
)

// batchesAtOnce is how many statements of one kind are under way at most: fewer carry more each.
const batchesAtOnce = 2

// batchBytes is how many bytes of results a statement carries before no more go along.
const batchBytes = 4 << 20

// batcher gathers calls of one kind. A batch is what waits when one before it has ended; a lone call waits for nobody.
type batcher struct {
	store *Store
	flush func(batch []*call, deadline time.Time)

	mu      sync.Mutex
	queue   []*call
	running int
}

func newBatcher(s *Store, flush func([]*call, time.Time)) *batcher {
	return &batcher{store: s, flush: flush}
}

// add has c answered. The caller counts among the store's calls. Where nothing else is to be done, and no standby to be waited
// for, the caller's goroutine does it, which is much faster than waking another.
func (b *batcher) add(c *call) {
	if !b.enter(c) {
		return
	}
	b.flush([]*call{c}, c.began.Add(b.store.options.Timeout))
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
	at := b.store.options.Linger == 0 && !b.store.synchronous.Load() && len(b.queue) == 0 && b.running < batchesAtOnce
	if !at {
		b.queue = append(b.queue, c)
	}
	if b.running < batchesAtOnce {
		b.running++
		if !at {
			b.store.calls.Go(b.run)
		}
	}
	return at
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
		b.flush(batch, time.Now().Add(2*b.store.options.Timeout))
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
	batch := slices.Clone(b.queue[:n])
	rest := copy(b.queue, b.queue[n:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	slices.SortStableFunc(batch, func(x, y *call) int {
		return cmp.Or(strings.Compare(x.id.Scope, y.id.Scope), strings.Compare(x.id.Key, y.id.Key))
	})
	return batch
}

// shared is one statement for several calls, in whose order its rows come back or not.
type shared struct {
	deadline time.Time             // of the statement
	calls    []*call               // one for each ID
	twins    map[atmost.ID][]*call // the others
	byID     map[atmost.ID]*call
}

// share separates the calls of a batch, which is sorted, into those that go together and those that have to wait for them.
func share(batch []*call, deadline time.Time) *shared {
	sh := &shared{deadline: deadline, byID: make(map[atmost.ID]*call, len(batch))}
	for _, c := range batch {
		if sh.byID[c.id] == nil {
			sh.byID[c.id] = c
			sh.calls = append(sh.calls, c)
			continue
		}
		if sh.twins == nil {
			sh.twins = map[atmost.ID][]*call{}
		}
		sh.twins[c.id] = append(sh.twins[c.id], c)
	}
	return sh
}

// begin drops the calls whose callers are gone.
func (sh *shared) begin() {
	sh.calls = slices.DeleteFunc(sh.calls, func(c *call) bool { return !c.begin() })
}

// undone takes note that the statement had no effect.
func (sh *shared) undone() {
	for _, c := range sh.calls {
		c.undone()
	}
}
