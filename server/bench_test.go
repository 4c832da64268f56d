package server_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
)

// discard is an http.ResponseWriter that keeps the status only.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// rewound is a request's body that can be read again.
type rewound struct {
	text string
	at   int
}

func (b *rewound) Read(p []byte) (int, error) {
	if b.at == len(b.text) {
		return 0, io.EOF
	}
	n := copy(p, b.text[b.at:])
	b.at += n
	return n, nil
}

func (b *rewound) Close() error { return nil }

// The handler without a network, over the store in memory and an operation that takes no time.
func BenchmarkExecute(b *testing.B) {
	for _, bench := range []struct {
		name string
		key  func(i int) string
	}{
		{"first", strconv.Itoa},
		{"replay", func(int) string { return "k" }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			engine, err := atmost.New(b.Context(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{
				"charge": {Executor: answers(completed(`{"id":"ch_1"}`)), Concurrency: 1024},
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close(context.Background())
			handler := server.New(engine, server.Options{})
			body := &rewound{text: charge}
			r, err := http.NewRequest(http.MethodPost, "/v1/idempotency/execute", body)
			if err != nil {
				b.Fatal(err)
			}
			r.ContentLength = int64(len(charge))
			r.Header.Set("Content-Type", "application/json")
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				body.at = 0
				r.Header["Idempotency-Key"] = []string{bench.key(i)}
				clear(w.header)
				handler.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatalf("status %d", w.status)
				}
			}
		})
	}
}
