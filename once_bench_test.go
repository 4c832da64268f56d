package atmost_test

import (
	"context"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
)

// BenchmarkOnce is what an embedded Once adds to a function: for a key of its own each time, and as a replay.
func BenchmarkOnce(b *testing.B) {
	type charge struct {
		ID     string `json:"id"`
		Amount int    `json:"amount"`
	}
	e, err := atmost.New(b.Context(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{"work": {}}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close(context.Background())
	do := func(key string) {
		_, err := atmost.Once(context.Background(), e, workCall(key), func(context.Context, atmost.Attempt) (charge, error) {
			return charge{ID: "ch_1", Amount: 1200}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			do(atmost.NewKey())
		}
	})
	b.Run("replay", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			do("replayed")
		}
	})
}
