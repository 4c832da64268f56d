package pebblestore

import "github.com/atmost-dev/atmost"

// latchCount is how many latches there are: with it, a hundred steps that wait for the disk keep about one in forty of
// the others waiting for no reason.
const latchCount = 4096

// latches exclude the steps on one ID from each other; IDs share them. Each is a channel that holds one element while it
// is taken. A mutex would do, but one that is waited for across a commit stops the time of testing/synctest.
type latches []chan struct{}

func newLatches() latches {
	l := make(latches, latchCount)
	for i := range l {
		l[i] = make(chan struct{}, 1)
	}
	return l
}

// of returns the latch of id, by FNV-1a: the same in every process, so that a simulation can be repeated.
func (l latches) of(id atmost.ID) latch {
	h := uint32(2166136261)
	for _, s := range [...]string{id.Scope, "\x00", id.Key} {
		for i := range len(s) {
			h = (h ^ uint32(s[i])) * 16777619
		}
	}
	return latch(l[(h^h>>16)%latchCount])
}

// passAll returns when every step that holds a latch now has let go of it.
func (l latches) passAll() {
	for _, c := range l {
		latch(c).take()
		latch(c).drop()
	}
}

type latch chan struct{}

func newLatch() latch { return make(latch, 1) }

func (l latch) take() { l <- struct{}{} }
func (l latch) drop() { <-l }
