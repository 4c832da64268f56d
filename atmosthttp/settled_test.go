package atmosthttp_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/store/memstore"
)

// settling is a handler whose attempt is given up for lost and settled by a person before it answers with a status.
func settling(t *testing.T, o atmost.Outcome, answer http.HandlerFunc) (atmost.Claimer, http.Handler) {
	t.Helper()
	clock := newClock()
	store := memstore.New(memstore.Options{Clock: clock})
	return engineOver(t, store, atmost.Operation{}, clock), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clock.add(atmost.MaxLease)
		if _, err := store.Apply(r.Context(), atmost.ID{Key: "k"}, &atmost.Resolve{Attempt: 1, Outcome: o}); err != nil {
			t.Error(err)
		}
		answer(w, r)
	})
}

// A person settled the attempt while the handler was at work. Its caller is told what all others are.
func TestTheFirstCallerGetsWhatLaterOnesGet(t *testing.T) {
	byHand := atmost.Outcome{State: atmost.Completed, Result: []byte(`{"by":"hand"}`)}
	for name, status := range map[string]int{"it says the same in other words": 201, "it says that it does not know": 502, "it says that nothing happened": 429} {
		t.Run(name, func(t *testing.T) {
			claimer, answering := settling(t, byHand, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", "1")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "its own")
			})
			h := wrap(t, claimer, atmosthttp.NoScope, atmosthttp.Options{NotExecutedStatus: []int{429}}, answering)
			for range 2 {
				if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || w.Body.String() != `{"by":"hand"}` || w.Header().Get("ETag") != "" {
					t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
				}
			}
		})
	}
}

// What was flushed by then cannot be taken back, so it is broken off.
func TestAFlushedAnswerThatIsNotTheRecordsIsBrokenOff(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	claimer, answering := settling(t, atmost.Outcome{State: atmost.Completed, Result: []byte(`1`)}, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
	})
	srv := httptest.NewServer(wrap(t, claimer, atmosthttp.NoScope, atmosthttp.Options{}, answering))
	defer srv.Close()
	if body, err := begin(t, srv, "k"); err == nil {
		t.Errorf("it came to its end: %s", body)
	}
}
