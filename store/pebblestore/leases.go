package pebblestore

import (
	"container/heap"
	"sync"

	"github.com/atmost-dev/atmost"
)

// leases knows when the leases of all processing records end, so that lapses are found without searching for them on
// disk. It takes about 200 bytes for each record that is processing.
type leases struct {
	mu   sync.Mutex
	byID map[atmost.ID]*lease
	heap leaseHeap
}

type lease struct {
	id       atmost.ID
	deadline atmost.Time
	position int
}

func newLeases() *leases { return &leases{byID: map[atmost.ID]*lease{}} }

// track learns how a record stands. Calls for one ID are made under its latch.
func (l *leases) track(r *atmost.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.byID[r.ID]
	switch {
	case r.State == atmost.Processing && known == nil:
		known = &lease{id: r.ID, deadline: r.Deadline}
		l.byID[r.ID] = known
		heap.Push(&l.heap, known)
	case r.State == atmost.Processing:
		known.deadline = r.Deadline
		heap.Fix(&l.heap, known.position)
	case known != nil:
		heap.Remove(&l.heap, known.position)
		delete(l.byID, r.ID)
	}
}

// earliest returns whose lease ends first, if that is at now or before.
func (l *leases) earliest(now atmost.Time) (atmost.ID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heap) == 0 || l.heap[0].deadline > now {
		return atmost.ID{}, false
	}
	return l.heap[0].id, true
}

func (l *leases) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heap)
}

// leaseHeap implements heap.Interface.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }

func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *leaseHeap) Push(x any) {
	e := x.(*lease)
	e.position = len(*h)
	*h = append(*h, e)
}

func (h *leaseHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
