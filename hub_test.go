package atmost

import "testing"

func TestHubForgetsWhoIsGone(t *testing.T) {
	h, id := newHub(), ID{Key: "k"}
	a, b := h.join(Record{ID: id, Fence: 1, Outcome: Outcome{State: Processing}}), h.join(Record{ID: id, Fence: 1, Outcome: Outcome{State: Processing}})
	if a != b {
		t.Error("two who wait for one ID do not wait together")
	}
	h.leave(id, a)
	if len(h.waited()) != 1 {
		t.Error("forgotten while somebody waits")
	}
	h.leave(id, b)
	if len(h.waited()) != 0 {
		t.Error("remembered when nobody waits")
	}
}

func TestHubHandsOverOnce(t *testing.T) {
	h, id := newHub(), ID{Key: "k"}
	before := h.join(Record{ID: id, Fence: 1, Outcome: Outcome{State: Processing}})
	h.settle(Record{ID: id, Fence: 1, Attempt: 1, Outcome: Outcome{State: Completed}})
	after := h.join(Record{ID: id, Fence: 1, Outcome: Outcome{State: Processing}})
	h.settle(Record{ID: ID{Key: "another"}, Fence: 1, Outcome: Outcome{State: Completed}})
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
	if len(h.waited()) != 1 {
		t.Error("who left took the other's place along")
	}
	h.leave(id, after)
	if len(h.waited()) != 0 {
		t.Error("remembered when nobody waits")
	}
}

func TestHubHandsOverNoOldNews(t *testing.T) {
	h, id := newHub(), ID{Key: "k"}
	w := h.join(Record{ID: id, Fence: 2, Outcome: Outcome{State: Unknown}})
	defer h.leave(id, w)
	h.settle(Record{ID: id, Fence: 1, Outcome: Outcome{State: NotExecuted}})
	h.settle(Record{ID: id, Fence: 2, Outcome: Outcome{State: Processing}})
	h.settle(Record{ID: id, Fence: 2, Outcome: Outcome{State: Unknown}})
	select {
	case <-w.done:
		t.Errorf("handed %+v", w.record)
	default:
	}
	h.release(Record{ID: id, Fence: 2})
	<-w.done
	if w.record.State != Absent {
		t.Errorf("released with news: %+v", w.record)
	}
}
