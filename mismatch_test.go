package atmost_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
)

// keyedStore has a secret, whatever is in it. It counts how often paths are asked for.
type keyedStore struct {
	atmost.Store
	paths atomic.Int64
	first func() // is called before they are made, if not nil
}

func (*keyedStore) Secret() [32]byte { return [32]byte{31: 1} }

func (s *keyedStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if c, ok := event.(*atmost.Claim); ok && c.Paths != nil {
		counted := *c
		counted.Paths = func() []byte {
			s.paths.Add(1)
			if s.first != nil {
				s.first()
			}
			return c.Paths()
		}
		event = &counted
	}
	return s.Store.Apply(ctx, id, event)
}

// differs fails the test unless err is a mismatch that tells the paths given, and shows them and what is stored nowhere else.
func (b *bench) differs(err error, want ...string) {
	b.Helper()
	var e *atmost.Error
	if !errors.As(err, &e) || e.Code != atmost.CodePayloadMismatch || !slices.Equal(e.Differs, want) || len(want) == 0 && e.Differs != nil {
		b.Errorf("%+v, want a mismatch at %q", e, want)
		return
	}
	if e.Message != "this key was used with another payload" || e.Error() != "PAYLOAD_MISMATCH: "+e.Message || e.Err != nil {
		b.Errorf("it says %q, and in logs %q", e.Message, e.Error())
	}
}

const (
	asked  = `{"amount":1250,"currency":"EUR","card":{"number":"4000-0000","cvc":"123"}}`
	differ = `{"amount":1251,"currency":"EUR","card":{"cvc":"321","number":"4000-0000"}}`
	fewer  = `{"amount":1250,"currency":"EUR","card":{"number":"4000-0000"}}`
)

// with is c with another payload.
func with(c atmost.Call, payload string) atmost.Call {
	c.Payload = []byte(payload)
	return c
}

// TestMismatchesAreExplained at any time, however the request comes.
func TestMismatchesAreExplained(t *testing.T) {
	inBubble(t, atmost.Operation{ResultRetention: time.Hour, KeyRetention: 2 * time.Hour}, atmost.Options{}, func(b *bench) {
		leased := work("k-work", atmost.Token{})
		leased.Payload = []byte(asked)
		lease := b.claims(leased)
		entered, leave := b.hold(noEffect)
		first := b.start(with(call("k"), asked))
		<-entered
		mismatches := func() {
			b.Helper()
			for payload, want := range map[string][]string{differ: {"/amount", "/card/cvc"}, fewer: {"/card"}, `[1]`: {"/0"}, `1`: nil} {
				_, err := b.execute(with(call("k"), payload))
				b.differs(err, want...)
				_, err = b.Claim(b.Context(), atmost.ClaimCall{Call: with(leased.Call, payload), Lease: time.Minute})
				b.differs(err, want...)
			}
		}
		mismatches()
		close(leave)
		a, err := first.wait()
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		mismatches()
		b.target.do = nil
		a, err = b.execute(with(call("k"), asked))
		b.says(a, err, "", atmost.Completed)
		b.completes("k-work", lease.Token, "1", "", atmost.Completed)
		mismatches()
		if err := b.SetOperations(nil); err != nil {
			b.Fatal(err)
		}
		mismatches() // from what is looked up, as nothing can be claimed
		pass(time.Hour)
		mismatches() // from a tombstone
		other := with(call("k"), differ)
		other.Operation = "another"
		if _, err = b.execute(other); atmost.CodeOf(err) != atmost.CodeOperationMismatch || err.(*atmost.Error).Differs != nil {
			b.Errorf("another operation: %+v", err)
		}
	})
}

// TestPathsAreMadeOnce: where an attempt begins, and never for what is answered from the record.
func TestPathsAreMadeOnce(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return noEffect }
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		kept := b.lookup("k").Paths
		b.target.do = nil
		for range 3 {
			a, err = b.execute(call("k"))
			b.says(a, err, "", atmost.Completed)
		}
		_, err = b.execute(with(call("k"), `{"amount":2}`))
		b.differs(err, "/amount")
		if n := b.keyed.paths.Load(); n != 1 || len(kept) != 8 || !slices.Equal(b.lookup("k").Paths, kept) {
			b.Errorf("made %d times: %x, then %x", n, kept, b.lookup("k").Paths)
		}
	})
}

// TestPathsAreMadeWhenTheStoreAsks, and not before it knows that an attempt begins: what is changed until then shows.
func TestPathsAreMadeWhenTheStoreAsks(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		c := with(call("k"), `"digest"`)
		c.Document = []byte(`{"amount":1}`)
		b.keyed.first = func() { copy(c.Document, `{"amount":2}`) }
		a, err := b.execute(c)
		b.says(a, err, "", atmost.Completed)
		c.Payload = []byte(`"other"`)
		_, err = b.execute(c)
		b.differs(err)
		c.Document = []byte(`{"amount":1}`)
		_, err = b.execute(c)
		b.differs(err, "/amount")
	})
}

// TestADocumentExplains: it is what is told of, and what is compared is the payload alone.
func TestADocumentExplains(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		about := func(payload, document string) atmost.Call {
			c := with(call("k"), payload)
			c.Document = []byte(document)
			return c
		}
		a, err := b.execute(about(`"digest"`, asked))
		b.says(a, err, "", atmost.Completed)
		a, err = b.execute(about(`"digest"`, differ))
		b.says(a, err, "", atmost.Completed)
		_, err = b.execute(about(`"other"`, differ))
		b.differs(err, "/amount", "/card/cvc")
		for _, document := range []string{asked, "not JSON", `"text"`, ""} {
			_, err = b.execute(about(`"other"`, document))
			b.differs(err)
		}
		_, err = b.execute(with(call("k"), `"other"`))
		b.differs(err)
		for i, payload := range []string{asked, differ} { // a document that is empty has no parts, whatever the payload has
			c := with(call("empty"), payload)
			c.Document = []byte{}
			if _, err = b.execute(c); i > 0 {
				b.differs(err)
			}
		}
	})
}

// TestNothingIsExplainedWithoutASecret, and nothing kept.
func TestNothingIsExplainedWithoutASecret(t *testing.T) {
	b := &bench{T: t}
	store := struct{ atmost.Store }{memstore.New(memstore.Options{})}
	var err error
	b.Engine, err = atmost.New(t.Context(), store, atmost.Options{Operations: map[string]atmost.Operation{"op": {Executor: &target{}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(t.Context()))
	a, err := b.execute(call("k"))
	b.says(a, err, "", atmost.Completed)
	_, err = b.execute(with(call("k"), `{"amount":2}`))
	b.differs(err)
	if r, err := store.Lookup(t.Context(), a.Record.ID); err != nil || r.Paths != nil {
		t.Errorf("%x, %v", r.Paths, err)
	}
}

// TestNoValueIsKept: a record, however it is printed, has nothing of the payload.
func TestNoValueIsKept(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		a, err := b.execute(with(call("k"), asked))
		b.says(a, err, "", atmost.Completed)
		for _, text := range []string{fmt.Sprintf("%+v", b.lookup("k")), fmt.Sprintf("%q", b.lookup("k").Paths)} {
			for _, value := range []string{"1250", "EUR", "4000", "amount", "cvc"} {
				if strings.Contains(text, value) {
					b.Errorf("%s has %s", text, value)
				}
			}
		}
	})
}
