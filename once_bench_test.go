package atmost_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
)

// BenchmarkOnce is what an embedded Once adds to a function.
//
//   - first: each call is the first of its key, and as many keys are forgotten as come, as in a program that has run for longer than
//     its retention. A thousand are kept at most, and what it costs to sweep them out counts.
//   - growing: nothing is forgotten, as in a program that has not run for so long. The more keys are kept, the more of this is the growth of
//     the store's map, the collector's look at all that is in it, and the engine's sweeps through it each second. So it depends on
//     -benchtime; it is here lest the other figure hide it.
//   - replay: of a thousand keys, again and again.
//
// The context is one that can end, as a request's is. Making the keys does not count: Once does not do it.
func BenchmarkOnce(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		o := newOnceBench(b, atmost.Operation{ResultRetention: atmost.MinRetention, KeyRetention: atmost.MinRetention})
		calls := o.calls()
		o.run(b, func(i int) atmost.Call {
			if i%len(calls) == 0 {
				o.forget(b)
			}
			return calls[i%len(calls)]
		})
		if o.ran != b.N {
			b.Errorf("of %d calls %d ran", b.N, o.ran)
		}
	})
	b.Run("growing", func(b *testing.B) {
		o, c := newOnceBench(b, atmost.Operation{}), workCall("")
		o.run(b, func(i int) atmost.Call {
			c.ID.Key = "key-" + strconv.Itoa(i)
			return c
		})
	})
	b.Run("replay", func(b *testing.B) {
		o := newOnceBench(b, atmost.Operation{})
		calls := o.calls()
		for _, c := range calls {
			o.once(b, c)
		}
		o.run(b, func(i int) atmost.Call { return calls[i%len(calls)] })
		if o.ran != len(calls) {
			b.Errorf("%d ran", o.ran)
		}
	})
}

// onceBench is an engine over a store in memory that forgets when it is told to.
type onceBench struct {
	engine *atmost.Engine
	store  *memstore.Store
	clock  *aheadClock
	ran    int
}

func newOnceBench(b *testing.B, op atmost.Operation) *onceBench {
	clock := &aheadClock{Clock: atmost.SystemClock()}
	store := memstore.New(memstore.Options{Clock: clock})
	e, err := atmost.New(b.Context(), store, atmost.Options{Clock: clock, Operations: map[string]atmost.Operation{"work": op}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close(context.Background()) })
	return &onceBench{engine: e, store: store, clock: clock}
}

// calls are a thousand, with a key each.
func (o *onceBench) calls() []atmost.Call {
	calls := make([]atmost.Call, 1000)
	for i := range calls {
		calls[i] = workCall(fmt.Sprint("key-", i))
	}
	return calls
}

type charge struct {
	ID     string `json:"id"`
	Amount int    `json:"amount"`
}

func (o *onceBench) once(b *testing.B, c atmost.Call) {
	_, err := atmost.Once(b.Context(), o.engine, c, func(context.Context, atmost.Attempt) (charge, error) {
		o.ran++
		return charge{ID: "ch_1", Amount: 1200}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func (o *onceBench) run(b *testing.B, call func(i int) atmost.Call) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.once(b, call(i))
	}
}

// forget lets time pass until no key is kept any more, and sweeps.
func (o *onceBench) forget(b *testing.B) {
	o.clock.ahead.Add(int64(atmost.MinRetention))
	for more := true; more; {
		swept, err := o.store.Sweep(b.Context(), 1000)
		if err != nil {
			b.Fatal(err)
		}
		more = swept.More
	}
}

// aheadClock is a clock that can be moved ahead.
type aheadClock struct {
	atmost.Clock
	ahead atomic.Int64
}

func (c *aheadClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

func (c *aheadClock) Elapsed() time.Duration {
	return c.Clock.Elapsed() + time.Duration(c.ahead.Load())
}
