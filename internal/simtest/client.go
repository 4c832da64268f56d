package simtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/atmost-dev/atmost"
)

// clients is how many there are, calls how often each begins something, and tries how often it asks for that.
const (
	clients = 4
	calls   = 7
	tries   = 4
)

// payloads that ask for the same, and one that does not.
var (
	spellings = []string{`{"amount":1,"to":"a"}`, `{"to":"a", "amount":1}`, `{"amount":1,"to":"\u0061"}`}
	other     = `{"amount":1.0,"to":"a"}`
)

// client begins one thing after the other.
func (w *world) client(n int) {
	r := w.random(fmt.Sprint("client ", n))
	for range calls {
		time.Sleep(time.Duration(r.Int64N(int64(2 * trouble / calls))))
		k := w.plan.keys[r.IntN(len(w.plan.keys))]
		c := atmost.Call{ID: k.id, Operation: k.operation, Payload: []byte(spellings[r.IntN(len(spellings))])}
		switch r.IntN(12) {
		case 0:
			c.Payload = []byte(other)
		case 1:
			c.Operation = hold
		}
		if r.IntN(3) > 0 {
			c.Wait, c.WaitSet = time.Duration(r.Int64N(int64(10*time.Second))), true
		}
		if c.Operation == leaseHold || c.Operation == leaseRetry {
			w.work(n, r, c)
		} else {
			w.execute(n, r, c)
		}
	}
}

// execute asks until there is an answer that is final, as one does who was told to.
func (w *world) execute(n int, r *rand.Rand, c atmost.Call) {
	for range tries {
		ctx, cancel := context.WithCancel(context.Background())
		if r.IntN(5) == 0 { // it hangs up
			cancelAfter := time.Duration(r.Int64N(int64(timeout)))
			defer time.AfterFunc(cancelAfter, cancel).Stop()
		}
		var a atmost.Answer
		var err error
		op := w.history.begin(n, c)
		answered := w.ask(time.Duration(r.Int64N(int64(20*time.Second))), func(e *atmost.Engine) { a, err = e.Execute(ctx, c) })
		cancel()
		w.learn(n)
		if !answered {
			w.history.lost(op)
			w.log(client(n), c.ID.Key, "%s %s: no answer", c.Operation, c.Payload)
		} else {
			code := atmost.CodeOf(err)
			w.history.end(op, a.Record, code)
			w.log(client(n), c.ID.Key, "%s %s: %v %s %s", c.Operation, c.Payload, a.Record.State, code, a.Record.Result)
			if err == nil && a.Record.State.Final() || err != nil && code.Retry() == atmost.RetryNo {
				return
			}
		}
		time.Sleep(time.Duration(r.Int64N(int64(5 * time.Second))))
	}
}

// learn lets a client take a moment to see what became of its call, so that no two of them do at the same one.
func (w *world) learn(n int) {
	w.calls.Add(1)
	time.Sleep(time.Duration(1 + draw(w.seed, client(n), w.now())%1000))
}

func client(n int) string { return fmt.Sprint("client ", n) }

// work claims, has the effect, and reports it: most of the time.
func (w *world) work(n int, r *rand.Rand, c atmost.Call) {
	call := atmost.ClaimCall{Call: c, Lease: time.Duration(1+r.IntN(10)) * time.Second, Token: atmost.NewToken()}
	for range tries {
		var won atmost.Claimed
		var err error
		op := w.history.begin(n, c)
		answered := w.ask(5*time.Second+call.Wait, func(e *atmost.Engine) { won, err = e.Claim(context.Background(), call) })
		w.learn(n)
		if !answered {
			w.history.lost(op)
			w.log(client(n), c.ID.Key, "claims %s: no answer", c.Payload)
			time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
			continue // with the same token
		}
		code := atmost.CodeOf(err)
		w.history.end(op, won.Record, code)
		w.log(client(n), c.ID.Key, "claims %s: won %v, attempt %d, %v %s", c.Payload, won.Won, won.Lease.Attempt, won.Record.State, code)
		switch {
		case won.Won:
			w.perform(n, r, c, won.Lease)
			return
		case err == nil && won.Record.State.Final(), err != nil && code.Retry() == atmost.RetryNo:
			return
		}
		time.Sleep(time.Duration(r.Int64N(int64(5 * time.Second))))
		call.Token = atmost.NewToken()
	}
}

// perform makes an attempt under a lease. A client that is careful has the effect only while the lease lasts for sure.
func (w *world) perform(n int, r *rand.Rand, c atmost.Call, l atmost.Lease) {
	time.Sleep(time.Duration(r.Int64N(int64(l.ExpiresIn))))
	if r.IntN(6) == 0 {
		w.log(client(n), c.ID.Key, "dies before the effect")
		return
	}
	if r.IntN(3) == 0 {
		var err error
		var renewed atmost.Lease
		lease := time.Duration(1+r.IntN(10)) * time.Second
		if !w.ask(5*time.Second, func(e *atmost.Engine) {
			renewed, err = e.Renew(context.Background(), c.ID, l.Token, lease)
		}) || err != nil {
			w.log(client(n), c.ID.Key, "cannot renew attempt %d", l.Attempt)
		} else {
			w.log(client(n), c.ID.Key, "renewed attempt %d", renewed.Attempt)
		}
	}
	outcome := r.IntN(10)
	result := fmt.Sprintf(`{"claimed":%q,"attempt":%d}`, c.ID.Key, l.Attempt)
	if outcome < 7 {
		result = w.bank.do(c.ID.Key, l.Attempt, l.Fence, string(c.Payload))
	}
	if r.IntN(6) == 0 {
		w.log(client(n), c.ID.Key, "dies before the report")
		return
	}
	if r.IntN(4) == 0 {
		time.Sleep(time.Duration(r.Int64N(int64(20 * time.Second)))) // late
	}
	for range tries {
		var err error
		answered := w.ask(5*time.Second, func(e *atmost.Engine) {
			switch outcome {
			default:
				_, err = e.Complete(context.Background(), c.ID, l.Token, []byte(result))
			case 7:
				_, err = e.Fail(context.Background(), c.ID, l.Token, atmost.Failure{Code: "DECLINED", Message: result, Executed: atmost.ExecutedYes})
			case 8:
				_, err = e.Fail(context.Background(), c.ID, l.Token, atmost.Failure{Code: "NOT_STARTED", Executed: atmost.ExecutedNo})
			case 9:
				_, err = e.Fail(context.Background(), c.ID, l.Token, atmost.Failure{Code: "WHO_KNOWS", Executed: atmost.ExecutedUnknown})
			}
		})
		if !answered {
			w.log(client(n), c.ID.Key, "reports attempt %d: no answer", l.Attempt)
		} else {
			w.log(client(n), c.ID.Key, "reports attempt %d: answered %s", l.Attempt, atmost.CodeOf(err))
			if atmost.CodeOf(err).Retry() != atmost.RetrySameKey {
				return
			}
		}
		time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
	}
}

// operate settles what is unknown, looks at results, and forgets: each at a moment of its own, and not always rightly.
func (w *world) operate() {
	r := w.random("operator")
	by := atmost.Actor{Name: "ada", Reason: "it was looked into"}
	for range 6 {
		time.Sleep(time.Duration(r.Int64N(int64(trouble / 4))))
		k := w.plan.keys[r.IntN(len(w.plan.keys))]
		var record atmost.Record
		var err error
		if !w.ask(5*time.Second, func(e *atmost.Engine) { record, err = e.Status(context.Background(), k.id, 0) }) || err != nil {
			continue
		}
		time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second)))) // it thinks
		switch {
		case record.State == atmost.Unknown:
			w.settle(r, by, k, record)
		case record.State.Final() && r.IntN(4) == 0:
			w.change(k, "erases", func(e *atmost.Engine) error {
				_, err := e.Erase(context.Background(), k.id, atmost.Erase{Attempt: record.Attempt, By: by})
				return err
			})
		case record.State.Final() && r.IntN(4) == 0:
			w.change(k, "forgets", func(e *atmost.Engine) error {
				_, err := e.Forget(context.Background(), k.id, atmost.Forget{Attempt: record.Attempt, By: by})
				return err
			})
		}
	}
}

// settle says how an attempt ended, mostly by the ledger.
func (w *world) settle(r *rand.Rand, by atmost.Actor, k key, record atmost.Record) {
	o := atmost.Outcome{State: atmost.NotExecuted, Message: "settled"}
	for _, e := range w.bank.effects(k.id.Key) {
		if e.fence == record.Fence {
			o = atmost.Outcome{State: atmost.Completed, Result: []byte(e.result)}
		}
	}
	if r.IntN(5) == 0 { // wrongly
		o = atmost.Outcome{State: atmost.NotExecuted, Message: "settled"}
	}
	w.change(k, fmt.Sprintf("settles attempt %d as %v", record.Attempt, o.State), func(e *atmost.Engine) error {
		_, err := e.Resolve(context.Background(), k.id, atmost.Resolve{Attempt: record.Attempt, Outcome: o, By: &by})
		return err
	})
}

// change makes an operator's change, if the service is there.
func (w *world) change(k key, what string, f func(e *atmost.Engine) error) {
	var err error
	if w.ask(5*time.Second, func(e *atmost.Engine) { err = f(e) }) {
		w.log("operator", k.id.Key, "%s: answered %s", what, atmost.CodeOf(err))
	} else {
		w.log("operator", k.id.Key, "%s: no answer", what)
	}
}
