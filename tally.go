package atmost

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// tally counts by ID in a fixed room, without locks: an ID that falls on another's place takes it over.
type tally struct {
	once   sync.Once
	seed   maphash.Seed
	places []atomic.Uint64 // the hash's upper half and the count
}

// tallyPlaces is a power of two; a place takes 8 bytes.
const tallyPlaces = 1 << 14

func (t *tally) place(id ID) (*atomic.Uint64, uint64) {
	t.once.Do(func() { t.seed, t.places = maphash.MakeSeed(), make([]atomic.Uint64, tallyPlaces) })
	h := maphash.Comparable(t.seed, id)
	return &t.places[h%tallyPlaces], h &^ (1<<32 - 1)
}

func (t *tally) add(id ID) {
	place, owner := t.place(id)
	for {
		old := place.Load()
		count := old & (1<<32 - 1)
		if old&^(1<<32-1) != owner {
			count = 0
		}
		if place.CompareAndSwap(old, owner|min(count+1, 1<<32-1)) {
			return
		}
	}
}

func (t *tally) of(id ID) int {
	place, owner := t.place(id)
	v := place.Load()
	if v&^(1<<32-1) != owner {
		return 0
	}
	return int(v & (1<<32 - 1))
}
