package atmost

import (
	"hash/maphash"
	"sync"
)

// hub is where requests wait for a record to leave Processing. Whoever makes an outcome durable settles its ID, and all who
// wait for that ID go on with the record they are handed.
type hub struct {
	seed   maphash.Seed
	shards [64]hubShard
}

type hubShard struct {
	mu    sync.Mutex
	waits map[ID]*wait
}

// wait is one ID that is waited for.
type wait struct {
	done   chan struct{}
	record Record // valid once done is closed
	users  int    // guarded by the shard's mu
}

func newHub() *hub {
	h := &hub{seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].waits = make(map[ID]*wait)
	}
	return h
}

func (h *hub) shard(id ID) *hubShard {
	return &h.shards[maphash.Comparable(h.seed, id)%uint64(len(h.shards))]
}

// join begins to wait for id. What settles afterwards is seen; what settled before is not, so the caller looks once
// after joining. Each join is followed by one leave.
func (h *hub) join(id ID) *wait {
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[id]
	if w == nil {
		w = &wait{done: make(chan struct{})}
		s.waits[id] = w
	}
	w.users++
	return w
}

func (h *hub) leave(id ID, w *wait) {
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.users--; w.users == 0 && s.waits[id] == w {
		delete(s.waits, id)
	}
}

// settle hands a record that is durable to all who wait for it.
func (h *hub) settle(r Record) {
	s := h.shard(r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waits[r.ID]; w != nil {
		delete(s.waits, r.ID)
		w.record = r
		close(w.done)
	}
}
