package atmost_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
)

const leaseTime = 100 * time.Second

// lasts is how long a lease lasts at least by another clock than the store's.
func lasts(d time.Duration) time.Duration { return d - d/100 }

// work is a claim for "work", under token unless that is zero.
func work(key string, token atmost.Token) atmost.ClaimCall {
	c := atmost.ClaimCall{Call: call(key), Lease: leaseTime, Token: token}
	c.Operation = "work"
	return c
}

func patient(c atmost.ClaimCall, d time.Duration) atmost.ClaimCall {
	c.Call = waiting(c.Call, d)
	return c
}

// claims fails the test unless the claim is won.
func (b *bench) claims(c atmost.ClaimCall) atmost.Lease {
	b.Helper()
	got, err := b.Claim(b.Context(), c)
	b.says(got.Answer, err, "", atmost.Processing)
	l := got.Lease
	if !got.Won || l.Attempt != got.Record.Attempt || l.Fence != got.Record.Fence || l.Token == (atmost.Token{}) || c.Token != (atmost.Token{}) && l.Token != c.Token {
		b.Fatalf("claimed %+v", got)
	}
	return l
}

// loses fails the test unless the claim is answered with the code and state given.
func (b *bench) loses(c atmost.ClaimCall, code atmost.Code, state atmost.State) atmost.Answer {
	b.Helper()
	got, err := b.Claim(b.Context(), c)
	b.says(got.Answer, err, code, state)
	if got.Won || got.Lease != (atmost.Lease{}) {
		b.Fatalf("claimed %+v", got)
	}
	return got.Answer
}

func (b *bench) completes(key string, token atmost.Token, result string, code atmost.Code, state atmost.State) atmost.Answer {
	b.Helper()
	a, err := b.Complete(b.Context(), atmost.ID{Key: key}, token, []byte(result))
	b.says(a, err, code, state)
	return a
}

func (b *bench) fails(key string, token atmost.Token, executed atmost.Executed, code atmost.Code, state atmost.State) atmost.Answer {
	b.Helper()
	a, err := b.Fail(b.Context(), atmost.ID{Key: key}, token, atmost.Failure{Code: "declined", Message: "no money", Executed: executed})
	b.says(a, err, code, state)
	return a
}

func (b *bench) renews(key string, token atmost.Token, d time.Duration, code atmost.Code) atmost.Lease {
	b.Helper()
	l, err := b.Renew(b.Context(), atmost.ID{Key: key}, token, d)
	if atmost.CodeOf(err) != code {
		b.Fatalf("renewed: %+v, %v; want %q", l, err, code)
	}
	return l
}

// told fails the test unless what was told is this often.
func (b *bench) told(what string, n int) {
	b.Helper()
	if b.events.get(what) != n {
		b.Errorf("told %v, want %s %d times", b.events.counts, what, n)
	}
}

func TestAClientPerformsAnOperation(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		if l.Attempt != 1 || l.ExpiresIn != lasts(leaseTime) {
			b.Errorf("the lease is %+v", l)
		}
		if r := b.lookup("k"); r.Policy.ExecutedBy != atmost.ByClient || r.Deadline.Sub(r.CreatedAt) != leaseTime {
			b.Errorf("claimed as %+v", r)
		}
		b.loses(work("k", atmost.Token{}), "", atmost.Processing)
		b.loses(work("k", stranger), "", atmost.Processing)

		first := b.completes("k", l.Token, ` {"n": 1.10}`, "", atmost.Completed)
		again := b.completes("k", l.Token, ` {"n": 1.10}`, "", atmost.Completed)
		replay := b.loses(work("k", atmost.Token{}), "", atmost.Completed)
		if first.Replayed || !again.Replayed || !replay.Replayed {
			b.Errorf("replayed %v, %v, %v", first.Replayed, again.Replayed, replay.Replayed)
		}
		for _, a := range []atmost.Answer{first, again, replay} {
			if string(a.Record.Result) != ` {"n": 1.10}` {
				b.Errorf("the result is %s", a.Record.Result)
			}
		}
		b.completes("k", l.Token, `1`, atmost.CodeAlreadyFinished, atmost.Completed)
		b.fails("k", l.Token, atmost.ExecutedNo, atmost.CodeAlreadyFinished, atmost.Completed)
		b.renews("k", l.Token, leaseTime, atmost.CodeLeaseLost)
		for what, n := range map[string]int{
			"answered claimed": 1, "answered processing": 2, "answered reported": 2, "answered replayed": 1,
			"answered ALREADY_FINISHED": 2, "answered LEASE_LOST": 1, "contradicted": 0, "late": 0,
		} {
			b.told(what, n)
		}
	})
}

func TestAClientsResultMayBeNothing(t *testing.T) {
	inBubble(t, atmost.Operation{ResultRetention: time.Hour}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		a, err := b.Complete(b.Context(), atmost.ID{Key: "k"}, l.Token, nil)
		b.says(a, err, "", atmost.Completed)
		if string(a.Record.Result) != "null" {
			b.Errorf("the result is %q", a.Record.Result)
		}
		for _, result := range []string{"", "{", `1 2`, "\"\xff\""} {
			b.completes("k", l.Token, result, atmost.CodeInvalidRequest, atmost.Absent)
		}
		pass(time.Hour)
		b.completes("k", l.Token, "null", atmost.CodeResultNotKept, atmost.Completed)
	})
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name     string
		policy   atmost.OnUnknown
		executed atmost.Executed
		state    atmost.State
		code     atmost.Code // of a claim that follows; "" if it is won
		result   string
	}{
		{"final", atmost.HoldUnknown, atmost.ExecutedYes, atmost.Failed, atmost.CodeExecutionFailed, `{"code":"<A&B>","message":"é \"x\"\u0000"}`},
		{"without effect", atmost.HoldUnknown, atmost.ExecutedNo, atmost.NotExecuted, "", ""},
		{"in doubt", atmost.HoldUnknown, atmost.ExecutedUnknown, atmost.Unknown, atmost.CodeOutcomeUnknown, ""},
		{"in doubt, to be repeated", atmost.RetryUnknown, atmost.ExecutedUnknown, atmost.NotExecuted, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, atmost.Operation{OnUnknown: tc.policy}, atmost.Options{}, func(b *bench) {
				f := atmost.Failure{Code: "<A&B>", Message: "é \"x\"\x00", Executed: tc.executed}
				l := b.claims(work("k", atmost.Token{}))
				for _, replayed := range []bool{false, true} {
					a, err := b.Fail(b.Context(), atmost.ID{Key: "k"}, l.Token, f)
					b.says(a, err, "", tc.state)
					if a.Replayed != replayed || string(a.Record.Result) != tc.result || a.Record.Message != f.Message {
						b.Errorf("answered %+v", a)
					}
					if presumed := tc.policy == atmost.RetryUnknown; a.Record.Presumed() != presumed {
						b.Errorf("presumed is %v", !presumed)
					}
				}
				if tc.code == "" {
					if l := b.claims(work("k", atmost.Token{})); l.Attempt != 2 {
						b.Errorf("attempt %d", l.Attempt)
					}
					return
				}
				a := b.loses(work("k", atmost.Token{}), tc.code, tc.state)
				if !strings.HasSuffix(a.Record.Err().Error(), f.Message) {
					b.Errorf("told %v", a.Record.Err())
				}
			})
		})
	}
}

func TestFailuresThatSayTooLittle(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		for _, f := range []atmost.Failure{
			{Executed: atmost.ExecutedNo}, {Code: strings.Repeat("x", 256), Executed: atmost.ExecutedNo}, {Code: "x"}, {Code: "x", Executed: "maybe"},
		} {
			if _, err := b.Fail(b.Context(), atmost.ID{Key: "k"}, l.Token, f); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
				b.Errorf("%+v: %v", f, err)
			}
		}
		if r := b.lookup("k"); r.State != atmost.Processing {
			b.Errorf("it is %v", r.State)
		}
	})
}

// TestARepeatedClaimGetsTheSameLease: with what is left of it, whatever the repetition asks for.
func TestARepeatedClaimGetsTheSameLease(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		first := b.claims(work("k", token))
		pass(leaseTime / 4)
		longer := work("k", token)
		longer.Lease = atmost.MaxLease
		second := b.claims(longer)
		if second.Attempt != 1 || second.Fence != first.Fence || second.ExpiresIn != lasts(leaseTime*3/4) {
			b.Errorf("the lease is %+v, and then %+v", first, second)
		}
		b.fails("k", token, atmost.ExecutedNo, "", atmost.NotExecuted)
		b.loses(work("k", token), atmost.CodeExecutionNotStarted, atmost.NotExecuted) // another attempt wants another token
		if third := b.claims(work("k", newToken)); third.Attempt != 2 {
			b.Errorf("the next lease is %+v", third)
		}
	})
}

func TestTheTimeThatAnAnswerTakesIsNoneOfTheLease(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.slowly(10*time.Second, func() {
			if l := b.claims(work("k", token)); l.ExpiresIn != lasts(leaseTime)-10*time.Second {
				b.Errorf("claimed %v", l.ExpiresIn)
			}
		})
		b.slowly(10*time.Second, func() {
			if l := b.renews("k", token, leaseTime, ""); l.ExpiresIn != lasts(leaseTime)-10*time.Second {
				b.Errorf("renewed %v", l.ExpiresIn)
			}
		})
	})
}

func TestRenewal(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		for range 5 {
			pass(leaseTime - time.Second)
			renewed := b.renews("k", l.Token, leaseTime, "")
			if renewed != l {
				b.Errorf("the lease was %+v, and is %+v", l, renewed)
			}
		}
		if shorter := b.renews("k", l.Token, time.Second, ""); shorter.ExpiresIn != lasts(leaseTime) {
			b.Errorf("renewed for less, it expires in %v", shorter.ExpiresIn)
		}
		b.renews("k", stranger, leaseTime, atmost.CodeLeaseLost)
		b.renews("k", atmost.Token{}, leaseTime, atmost.CodeLeaseLost)
		b.renews("other", l.Token, leaseTime, atmost.CodeLeaseLost)
		pass(leaseTime)
		b.renews("k", l.Token, leaseTime, atmost.CodeLeaseLost)
	})
}

func TestALeaseHasBounds(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		for d, code := range map[time.Duration]atmost.Code{
			0: atmost.CodeInvalidRequest, atmost.MinLease - 1: atmost.CodeInvalidRequest, atmost.MaxLease + 1: atmost.CodeInvalidRequest,
			-atmost.MinLease: atmost.CodeInvalidRequest, atmost.MinLease: "", atmost.MaxLease: "",
		} {
			c := work(fmt.Sprint("k", d.Nanoseconds()), token)
			if c.Lease = d; code == "" {
				b.claims(c)
			} else {
				b.loses(c, code, atmost.Absent)
			}
			b.renews(c.ID.Key, token, d, code)
		}
	})
}

// TestAClientThatDies lets its lease lapse: whoever waits is told that the outcome is unknown, and its late report settles it.
func TestAClientThatDies(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		pass(leaseTime - time.Minute/2)
		begin := time.Now()
		b.loses(patient(work("k", atmost.Token{}), time.Minute), atmost.CodeOutcomeUnknown, atmost.Unknown)
		if took := time.Since(begin); took < time.Minute/2 || took > time.Minute/2+2*time.Second {
			b.Errorf("told after %v", took)
		}
		b.told("lapsed unknown", 1)
		b.fails("k", stranger, atmost.ExecutedNo, atmost.CodeLeaseLost, atmost.Unknown)
		b.completes("k", l.Token, `"late"`, "", atmost.Completed)
		b.told("late", 1)
		if a := b.loses(work("k", atmost.Token{}), "", atmost.Completed); string(a.Record.Result) != `"late"` {
			b.Errorf("the result is %s", a.Record.Result)
		}
	})
}

// TestTakeover: another client performs what the first one did not, or is presumed not to have done; tokens of older attempts
// change nothing, and give a double run away.
func TestTakeover(t *testing.T) {
	for _, tc := range []struct {
		name          string
		policy        atmost.OnUnknown
		end           func(*bench, atmost.Lease)
		contradiction int
	}{
		{"after a report", atmost.HoldUnknown, func(b *bench, l atmost.Lease) {
			b.fails("k", l.Token, atmost.ExecutedNo, "", atmost.NotExecuted)
		}, 0},
		{"after a lapse", atmost.RetryUnknown, func(*bench, atmost.Lease) { pass(leaseTime) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, atmost.Operation{OnUnknown: tc.policy}, atmost.Options{}, func(b *bench) {
				first := b.claims(work("k", atmost.Token{}))
				tc.end(b, first)
				second := b.claims(work("k", atmost.Token{}))
				if second.Attempt != 2 || second.Fence <= first.Fence || second.Token == first.Token {
					b.Errorf("leases %+v and %+v", first, second)
				}
				b.renews("k", first.Token, leaseTime, atmost.CodeLeaseLost)
				b.completes("k", first.Token, `"first"`, atmost.CodeLeaseLost, atmost.Processing)
				b.loses(work("k", first.Token), "", atmost.Processing)
				b.told("contradicted", tc.contradiction)
				a := b.completes("k", second.Token, `"second"`, "", atmost.Completed)
				if string(a.Record.Result) != `"second"` {
					b.Errorf("the result is %s", a.Record.Result)
				}
			})
		})
	}
}

// TestDuplicatesOfAClientAreWoken by its report, whatever it says.
func TestDuplicatesOfAClientAreWoken(t *testing.T) {
	for _, tc := range []struct {
		name   string
		report func(*bench, atmost.Token)
		code   atmost.Code
		state  atmost.State
	}{
		{"completed", func(b *bench, t atmost.Token) { b.completes("k", t, "1", "", atmost.Completed) }, "", atmost.Completed},
		{"failed", func(b *bench, t atmost.Token) { b.fails("k", t, atmost.ExecutedYes, "", atmost.Failed) }, atmost.CodeExecutionFailed, atmost.Failed},
		{"not executed", func(b *bench, t atmost.Token) { b.fails("k", t, atmost.ExecutedNo, "", atmost.NotExecuted) }, atmost.CodeExecutionNotStarted, atmost.NotExecuted},
		{"unknown", func(b *bench, t atmost.Token) { b.fails("k", t, atmost.ExecutedUnknown, "", atmost.Unknown) }, atmost.CodeOutcomeUnknown, atmost.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, atmost.Operation{DuplicateWait: 20 * time.Second}, atmost.Options{}, func(b *bench) {
				l := b.claims(work("k", atmost.Token{}))
				begin := time.Now()
				var all sync.WaitGroup
				for _, wait := range []func() (atmost.Answer, error){
					func() (atmost.Answer, error) {
						c, err := b.Claim(b.Context(), work("k", atmost.Token{}))
						return c.Answer, err
					},
					func() (atmost.Answer, error) {
						c, err := b.Claim(b.Context(), patient(work("k", stranger), time.Minute))
						return c.Answer, err
					},
					func() (atmost.Answer, error) { return b.Execute(b.Context(), work("k", atmost.Token{}).Call) },
				} {
					all.Go(func() {
						a, err := wait()
						b.says(a, err, tc.code, tc.state)
						if took := time.Since(begin); took != 5*time.Second {
							b.Errorf("told after %v", took)
						}
					})
				}
				pass(5 * time.Second)
				tc.report(b, l.Token)
				all.Wait()
			})
		})
	}
}

// TestOneOfManyClients: of all who want to perform an operation one does at a time, and when one has, all get what it did.
func TestOneOfManyClients(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		var (
			mu            sync.Mutex
			working, runs int
			results       []string
			all           sync.WaitGroup
		)
		for i := range 30 {
			all.Go(func() {
				for {
					c, err := b.Claim(b.Context(), patient(work("k", atmost.Token{}), time.Minute))
					if !c.Won {
						if atmost.CodeOf(err) == atmost.CodeExecutionNotStarted {
							continue
						}
						b.says(c.Answer, err, "", atmost.Completed)
						mu.Lock()
						results = append(results, string(c.Record.Result))
						mu.Unlock()
						return
					}
					mu.Lock()
					runs++
					n := runs
					if working++; working > 1 {
						b.Error("two at a time")
					}
					mu.Unlock()
					pass(time.Second)
					mu.Lock()
					working--
					mu.Unlock()
					if n < 10 {
						b.fails("k", c.Lease.Token, atmost.ExecutedNo, "", atmost.NotExecuted)
						continue
					}
					b.completes("k", c.Lease.Token, fmt.Sprint(i), "", atmost.Completed)
				}
			})
		}
		all.Wait()
		if runs != 10 || len(results) != 30 || len(slices.Compact(results)) != 1 {
			b.Errorf("%d runs, results %v", runs, results)
		}
	})
}

// TestWhatClientsMayClaim, and what they are told of keys that have a record.
func TestWhatClientsMayClaim(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		claimOf := func(operation, key string, token atmost.Token) atmost.ClaimCall {
			c := work(key, token)
			c.Operation = operation
			return c
		}
		b.loses(claimOf("op", "new", atmost.Token{}), atmost.CodeOperationNotClaimable, atmost.Absent)
		b.loses(claimOf("unheard.of", "new", atmost.Token{}), atmost.CodeOperationNotConfigured, atmost.Absent)
		_, err := b.execute(claimOf("work", "new", atmost.Token{}).Call)
		if atmost.CodeOf(err) != atmost.CodeOperationNotConfigured {
			b.Errorf("asked to execute what clients do: %v", err)
		}

		a, err := b.execute(call("executed"))
		b.says(a, err, "", atmost.Completed)
		b.loses(claimOf("op", "executed", atmost.Token{}), "", atmost.Completed)
		b.loses(claimOf("work", "executed", atmost.Token{}), atmost.CodeOperationMismatch, atmost.Completed)
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return noEffect }
		a, err = b.execute(call("nothing"))
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		b.loses(claimOf("op", "nothing", atmost.Token{}), atmost.CodeOperationNotClaimable, atmost.NotExecuted)

		// What was a client's to do is the service's now: the lease stays, and so does the result.
		held := b.claims(claimOf("work", "held", token))
		done := b.claims(claimOf("work", "done", token))
		b.completes("done", done.Token, "1", "", atmost.Completed)
		for _, operations := range []map[string]atmost.Operation{{"work": {Executor: b.target}}, nil} {
			if err := b.SetOperations(operations); err != nil {
				b.Fatal(err)
			}
			b.loses(claimOf("work", "done", atmost.Token{}), "", atmost.Completed)
			b.loses(claimOf("work", "held", atmost.Token{}), "", atmost.Processing)
			if again := b.claims(claimOf("work", "held", token)); again != held {
				b.Errorf("the lease was %+v, and is %+v", held, again)
			}
			other := claimOf("work", "held", token)
			other.Payload = []byte("0")
			b.loses(other, atmost.CodePayloadMismatch, atmost.Processing)
			b.renews("held", held.Token, leaseTime, "")
		}
		b.completes("held", held.Token, "1", "", atmost.Completed)
	})
}

func TestUnlistedOperations(t *testing.T) {
	unlisted := &atmost.Operation{ResultRetention: time.Hour, OnUnknown: atmost.RetryUnknown}
	inBubble(t, atmost.Operation{}, atmost.Options{Unlisted: unlisted}, func(b *bench) {
		c := work("k", atmost.Token{})
		c.Operation = "unheard.of"
		l := b.claims(c)
		if p := b.lookup("k").Policy; p.OnUnknown != atmost.RetryUnknown || p.ResultRetention != time.Hour || p.ExecutedBy != atmost.ByClient {
			b.Errorf("claimed under %+v", p)
		}
		b.completes("k", l.Token, "1", "", atmost.Completed)
		if _, err := b.execute(c.Call); err != nil {
			b.Errorf("what it did is not replayed: %v", err)
		}
		strange := c
		strange.ID.Key, strange.Operation = "strange", "no header carries this"
		b.loses(strange, atmost.CodeOperationNotConfigured, atmost.Absent)
		fresh := c
		fresh.ID.Key = "fresh"
		if _, err := b.execute(fresh.Call); atmost.CodeOf(err) != atmost.CodeOperationNotConfigured {
			b.Errorf("asked to execute what is not listed: %v", err)
		}
		if err := b.SetUnlisted(&atmost.Operation{Timeout: -1}); err == nil {
			b.Error("a negative time-out was accepted")
		}
		b.claims(fresh)
		if err := b.SetUnlisted(nil); err != nil {
			b.Fatal(err)
		}
		b.loses(c, "", atmost.Completed)
		fresh.ID.Key = "more"
		b.loses(fresh, atmost.CodeOperationNotConfigured, atmost.Absent)
	})
}

func TestBadClaimsNeverReachTheStore(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.store.SetDown(true)
		defer b.store.SetDown(false)
		bad := atmost.ID{Key: "a b"}
		c := work("k", atmost.Token{})
		c.ID = bad
		b.loses(c, atmost.CodeInvalidKey, atmost.Absent)
		c = work("k", atmost.Token{})
		c.Payload = []byte("{")
		b.loses(c, atmost.CodeInvalidRequest, atmost.Absent)
		_, renewed := b.Renew(b.Context(), bad, token, leaseTime)
		_, completed := b.Complete(b.Context(), bad, token, nil)
		for _, err := range []error{renewed, completed} {
			if atmost.CodeOf(err) != atmost.CodeInvalidKey {
				b.Error(err)
			}
		}
		if n, _ := b.Pending(); n != 0 {
			b.Errorf("%d pending", n)
		}
	})
}

func TestAClientsUnknownIsProbed(t *testing.T) {
	op := atmost.Operation{OnUnknown: atmost.ProbeUnknown, ProbeSettle: time.Second}
	inBubble(t, op, atmost.Options{}, func(b *bench) {
		b.target.probe = func(atmost.ID, uint32) atmost.Outcome { return noEffect }
		b.claims(work("k", atmost.Token{}))
		pass(leaseTime + 10*time.Second)
		synctest.Wait()
		if l := b.claims(work("k", atmost.Token{})); l.Attempt != 2 {
			b.Errorf("attempt %d", l.Attempt)
		}
	})
}
