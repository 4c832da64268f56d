package atmost_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

// hold claims "k", and holds the lease.
func (j *job) hold(c atmost.Claimer, sent time.Time) *atmost.Holder {
	j.Helper()
	call := work("k", atmost.NewToken())
	claimed, err := c.Claim(j.Context(), call)
	if err != nil || !claimed.Won {
		j.Fatalf("%+v, %v", claimed, err)
	}
	return atmost.Hold(j.Context(), c, call, claimed.Lease, sent)
}

// renewing is a Claimer whose renewals a test answers.
type renewing struct {
	atmost.Claimer
	renew func(context.Context) error
}

func (c *renewing) Renew(ctx context.Context, id atmost.ID, token atmost.Token, lease time.Duration) (atmost.Lease, error) {
	if err := c.renew(ctx); err != nil {
		return atmost.Lease{}, err
	}
	return c.Claimer.Renew(ctx, id, token, lease)
}

func TestAHolderRenewsAndReports(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		h := j.hold(j.claimer, time.Now())
		pass(10 * leaseTime)
		if err := h.Context().Err(); err != nil {
			j.Fatal(context.Cause(h.Context()))
		}
		a, err := h.Complete(j.Context(), []byte(`"done"`))
		j.says(a, err, "", atmost.Completed)
		if h.Context().Err() == nil {
			j.Error("its context goes on after the report")
		}
		_, err = h.Fail(j.Context(), atmost.Failure{Code: "late", Executed: atmost.ExecutedNo})
		if atmost.CodeOf(err) != atmost.CodeAlreadyFinished {
			j.Errorf("another report: %v", err)
		}
	})
}

// TestALeaseThatIsOverIsNotHeld: it ended while the claim's answer was on its way.
func TestALeaseThatIsOverIsNotHeld(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		h := j.hold(j.claimer, time.Now().Add(-leaseTime))
		if cause := context.Cause(h.Context()); atmost.CodeOf(cause) != atmost.CodeLeaseLost {
			j.Errorf("its context: %v", cause)
		}
		a, err := h.Fail(j.Context(), atmost.Failure{Code: "late", Executed: atmost.ExecutedNo})
		j.says(a, err, "", atmost.NotExecuted)
	})
}

// TestOnlyALostLeaseEndsTheWork: a service that cannot renew it now may be able to before it is over.
func TestOnlyALostLeaseEndsTheWork(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		back := time.Now().Add(leaseTime / 2)
		h := j.hold(&renewing{j.claimer, func(context.Context) error {
			if time.Now().Before(back) {
				return &atmost.Error{Code: atmost.CodeShuttingDown}
			}
			return nil
		}}, time.Now())
		pass(2 * leaseTime)
		if err := h.Context().Err(); err != nil {
			j.Error(context.Cause(h.Context()))
		}
		a, err := h.Complete(j.Context(), nil)
		j.says(a, err, "", atmost.Completed)
	})
}

// TestAReportEndsTheRenewal, and waits for one that is under way.
func TestAReportEndsTheRenewal(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		var under, ended atomic.Bool
		h := j.hold(&renewing{j.claimer, func(ctx context.Context) error {
			under.Store(true)
			<-ctx.Done()
			pass(time.Second)
			ended.Store(true)
			return ctx.Err()
		}}, time.Now())
		pass(leaseTime / 2)
		a, err := h.Complete(j.Context(), nil)
		j.says(a, err, "", atmost.Completed)
		if !under.Load() || !ended.Load() {
			j.Errorf("a renewal was under way: %v, and had ended: %v", under.Load(), ended.Load())
		}
	})
}

// TestAReportIsRepeated while the store is down, as long as its context lasts.
func TestAReportIsRepeated(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		h := j.hold(j.claimer, time.Now())
		j.store.SetDown(true)
		const patience = 15 * time.Second
		ctx, cancel := context.WithTimeout(j.Context(), patience)
		defer cancel()
		begin := time.Now()
		if _, err := h.Complete(ctx, nil); err == nil {
			j.Error("it was reported to a store that is down")
		}
		if took := time.Since(begin); took != patience {
			j.Errorf("it took %v", took)
		}
		time.AfterFunc(patience, func() { j.store.SetDown(false) })
		a, err := h.Complete(j.Context(), nil)
		j.says(a, err, "", atmost.Completed)
	})
}
