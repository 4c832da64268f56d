package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/atmost-dev/atmost"
)

// concurrentOneWinner claims each of some keys from 64 goroutines at once, each with its own token.
func concurrentOneWinner(s *subject) {
	const rounds, claimers = 20, 64
	for round := range rounds {
		id := atmost.ID{Key: fmt.Sprint("contested-", round)}
		var ready, done sync.WaitGroup
		var won, failures atomic.Int32
		start := make(chan struct{})
		for n := range claimers {
			ready.Add(1)
			done.Go(func() {
				c := claim(n + 1)
				ready.Done()
				<-start
				step, err := s.Store.Apply(s.ctx, id, c)
				if err != nil || step.Record.Attempt != 1 {
					failures.Add(1)
				}
				if c.Won(step.Record) {
					won.Add(1)
				}
			})
		}
		ready.Wait()
		close(start)
		done.Wait()
		if won.Load() != 1 || failures.Load() != 0 {
			s.Fatalf("round %d: %d claimers won, %d failed; want 1 and 0", round, won.Load(), failures.Load())
		}
	}
}

// concurrentContextCancelled: a caller that is gone changes nothing about what the store does.
func concurrentContextCancelled(s *subject) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.ctx = ctx
	s.ok(someID, claim(1), atmost.Processing)
	s.ok(someID, finish(1, completed(`1`)), atmost.Completed)
	s.found(someID, atmost.Completed)
	s.standing(atmost.Unknown, atmost.ID{})
	s.sweep(1)
}

// call is one call to a store, and answer what came of it.
type call struct {
	id    atmost.ID
	event atmost.Event // nil: Lookup
}

type answer struct {
	step atmost.Step
	code atmost.Code
}

// modelAt is the sequential model of the records at a moment that does not pass.
func modelAt(at atmost.Instant) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byID := map[atmost.ID][]porcupine.Operation{}
			for _, op := range history {
				id := op.Input.(call).id
				byID[id] = append(byID[id], op)
			}
			parts := make([][]porcupine.Operation, 0, len(byID))
			for _, part := range byID {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return atmost.Record{} },
		Step: func(state, input, output any) (bool, any) {
			r, in, out := state.(atmost.Record), input.(call), output.(answer)
			r.ID = in.id
			want, next := answerOf(r, in, at)
			return want.code == out.code && sameStep(want.step, out.step), next
		},
		Equal: func(a, b any) bool { return reflect.DeepEqual(a, b) },
		Hash: func(state any) uint64 {
			r := state.(atmost.Record)
			return uint64(r.Fence)<<8 | uint64(r.State)<<4 | uint64(r.Contradictions)
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

func sameStep(a, b atmost.Step) bool {
	a.Record, b.Record = comparable(a.Record), comparable(b.Record)
	return reflect.DeepEqual(a, b)
}

// answerOf is the model's answer to one call, and the record after it.
func answerOf(r atmost.Record, in call, at atmost.Instant) (answer, atmost.Record) {
	if in.event == nil {
		return answer{step: atmost.Step{Record: atmost.Age(r, at)}}, r
	}
	step, err := atmost.Transition(r, in.event, at)
	if step.Changed {
		r = step.Record
	}
	return answer{step, atmost.CodeOf(err)}, r
}

// concurrentLinearizable lets clients do anything to a few keys, and asks whether the answers fit one order of the calls.
// No time passes; but leases and retentions of no length at all let records lapse and expire.
func concurrentLinearizable(s *subject) {
	const clients, calls = 8, 60
	ids := []atmost.ID{{Key: "a"}, {Key: "b"}, {Scope: "a", Key: "a"}}
	start := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var running sync.WaitGroup
	errs := make(chan error, clients)
	for client := range clients {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1))
			for range calls {
				in := call{ids[random.IntN(len(ids))], randomEvent(random)}
				called := time.Since(start)
				out, err := s.do(in)
				returned := time.Since(start)
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: in, Call: int64(called), Output: out, Return: int64(returned),
				})
				mu.Unlock()
			}
		})
	}
	running.Wait()
	close(errs)
	for err := range errs {
		s.Fatalf("%v", err)
	}
	if got := porcupine.CheckOperationsTimeout(modelAt(s.at()), history, time.Minute); got != porcupine.Ok {
		s.Fatalf("the history of %d calls is not linearizable: %v", len(history), got)
	}
}

// do does one call to the store, and now and then sweeps and lists, which must not change any answer.
func (s *subject) do(in call) (answer, error) {
	if in.event == nil {
		if _, err := s.Store.Sweep(s.ctx, 2); err != nil {
			return answer{}, err
		}
		if _, err := s.Store.List(s.ctx, atmost.Query{State: atmost.Processing, Limit: 2}); err != nil {
			return answer{}, err
		}
		r, err := s.Store.Lookup(s.ctx, in.id)
		return answer{step: atmost.Step{Record: r}}, err
	}
	step, err := s.Store.Apply(s.ctx, in.id, in.event)
	var refusal *atmost.Error
	if err != nil && !errors.As(err, &refusal) {
		return answer{}, err
	}
	return answer{step, atmost.CodeOf(err)}, nil
}

// randomEvent draws from few tokens, so that calls meet.
func randomEvent(random *rand.Rand) atmost.Event {
	n := 1 + random.IntN(4)
	outcomes := []atmost.Outcome{completed(`1`), completed(`2`), failed, notExecuted, notExecuted, notExecuted, unknown}
	switch random.IntN(10) {
	case 0, 1, 2, 3:
		c := claimWith(n, atmost.OnUnknown(random.IntN(3)), atmost.ByClient)
		if random.IntN(3) == 0 {
			c.Lease = 0
		}
		if random.IntN(2) == 0 {
			c.Policy.ResultRetention, c.Policy.KeyRetention = 0, 0
		}
		return c
	case 4:
		return &atmost.Renew{Token: token(n), Lease: lease + time.Duration(random.IntN(3))*time.Second}
	case 5, 6, 7:
		return finish(n, outcomes[random.IntN(len(outcomes))])
	case 8:
		return &atmost.Resolve{Attempt: uint32(1 + random.IntN(3)), Outcome: outcomes[random.IntN(len(outcomes)-1)]}
	}
	return nil
}
