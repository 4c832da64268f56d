package atmost

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
)

// hub is where requests wait for an attempt to end. Whoever makes an outcome durable settles its ID, and all who wait for
// that ID go on with the record they are handed.
type hub struct {
	seed   maphash.Seed
	shards [64]hubShard
	joined chan struct{} // has an element when somebody may have begun to wait
}

type hubShard struct {
	mu    sync.Mutex
	waits map[ID]*wait
}

// wait is one ID that is waited for.
type wait struct {
	done   chan struct{}
	record Record // valid once done is closed; absent if there is no news

	// Guarded by the shard's mu:
	users   int
	fence   int64 // of the newest attempt that is waited for
	running bool  // somebody saw it Processing; the others know that it is Unknown
}

func newHub() *hub {
	h := &hub{seed: maphash.MakeSeed(), joined: make(chan struct{}, 1)}
	for i := range h.shards {
		h.shards[i].waits = make(map[ID]*wait)
	}
	return h
}

func (h *hub) shard(id ID) *hubShard {
	return &h.shards[maphash.Comparable(h.seed, id)%uint64(len(h.shards))]
}

// join begins to wait for news of r. What settles afterwards is seen; what settled before is not, so the caller looks once
// after joining. Each join is followed by one leave.
func (h *hub) join(r Record) *wait {
	id := r.ID
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[id]
	if w == nil {
		w = &wait{done: make(chan struct{})}
		s.waits[id] = w
	}
	w.users++
	w.fence = max(w.fence, r.Fence)
	w.running = w.running || r.State == Processing
	select {
	case h.joined <- struct{}{}:
	default:
	}
	return w
}

// waited returns every ID that is waited for.
func (h *hub) waited() []ID {
	var ids []ID
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		ids = slices.AppendSeq(ids, maps.Keys(s.waits))
		s.mu.Unlock()
	}
	return ids
}

func (h *hub) leave(id ID, w *wait) {
	s := h.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.users--; w.users == 0 && s.waits[id] == w {
		delete(s.waits, id)
	}
}

// settle hands a record that is durable to all who wait for it, if it is news to one of them: not that an attempt is Processing,
// or of one before the newest that they know, or that it is Unknown when they know that.
func (h *hub) settle(r Record) {
	if r.State != Processing {
		h.wake(r, r)
	}
}

// release ends the waiting for an attempt of which there will be no news.
func (h *hub) release(r Record) { h.wake(r, Record{}) }

func (h *hub) wake(r, news Record) {
	s := h.shard(r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[r.ID]
	if w == nil || r.Fence < w.fence || news.State == Unknown && !w.running {
		return
	}
	delete(s.waits, r.ID)
	w.record = news
	close(w.done)
}
