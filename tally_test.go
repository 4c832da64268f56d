package atmost

import (
	"fmt"
	"sync"
	"testing"
)

// What one ID is said to have is never more than what was counted for it, and all of it as long as no other takes its place.
func TestTally(t *testing.T) {
	var c tally
	a := ID{Key: "a"}
	if c.of(a) != 0 {
		t.Error("nothing was counted, and something is told")
	}
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				c.add(a)
				c.of(a)
			}
		})
	}
	work.Wait()
	if n := c.of(a); n != 8000 {
		t.Errorf("%d of 8000 are told", n)
	}
	// Another that falls on the same place takes it over, and begins anew.
	place, owner := c.place(a)
	var other ID
	for i := 0; ; i++ {
		other = ID{Scope: "s", Key: fmt.Sprint(i)}
		if p, o := c.place(other); p == place && o != owner {
			break
		}
	}
	if n := c.of(other); n != 0 {
		t.Errorf("%d are told of another", n)
	}
	c.add(other)
	c.add(other)
	if c.of(other) != 2 || c.of(a) != 0 {
		t.Errorf("%d and %d are told, of 2 and none", c.of(other), c.of(a))
	}
	// The count ends before it spoils the owner.
	place.Store(owner | (1<<32 - 1))
	c.add(a)
	if n := c.of(a); n != 1<<32-1 {
		t.Errorf("%d are told", n)
	}
}
