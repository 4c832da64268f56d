package atmost

import "testing"

func (h *hub) size() int {
	n := 0
	for i := range h.shards {
		h.shards[i].mu.Lock()
		n += len(h.shards[i].waits)
		h.shards[i].mu.Unlock()
	}
	return n
}

func TestHubForgetsWhoIsGone(t *testing.T) {
	h, id := newHub(), ID{Key: "k"}
	a, b := h.join(id), h.join(id)
	if a != b {
		t.Error("two who wait for one ID do not wait together")
	}
	h.leave(id, a)
	if h.size() != 1 {
		t.Error("forgotten while somebody waits")
	}
	h.leave(id, b)
	if h.size() != 0 {
		t.Error("remembered when nobody waits")
	}
}

func TestHubHandsOverOnce(t *testing.T) {
	h, id := newHub(), ID{Key: "k"}
	before := h.join(id)
	h.settle(Record{ID: id, Attempt: 1})
	after := h.join(id)
	h.settle(Record{ID: ID{Key: "another"}})
	select {
	case <-after.done:
		t.Error("handed what was settled before it came, or another ID's")
	default:
	}
	<-before.done
	if before.record.Attempt != 1 {
		t.Errorf("handed %+v", before.record)
	}
	h.leave(id, before)
	if h.size() != 1 {
		t.Error("who left took the other's place along")
	}
	h.leave(id, after)
	if h.size() != 0 {
		t.Error("remembered when nobody waits")
	}
}
