package pgstore

import (
	"errors"
	"log/slog"
	"time"
)

// The defaults of Options.
const (
	DefaultMaxConns  = 16
	DefaultBatchSize = 128
	DefaultTimeout   = 5 * time.Second
	DefaultRetries   = 10
)

// Options are all optional.
type Options struct {
	// MaxConns bounds the connections to the database. DefaultMaxConns if 0.
	MaxConns int
	// BatchSize bounds how many requests share a statement. DefaultBatchSize if 0.
	BatchSize int
	// Linger is how long a statement waits for requests to share it. With 0, the default, it takes what waits already when
	// its turn comes.
	Linger time.Duration
	// Timeout bounds every call. DefaultTimeout if 0.
	Timeout time.Duration
	// Retries is how often a statement is sent again that the server refused for a conflict with another. DefaultRetries
	// if 0.
	Retries int
	// UnsafeDurability accepts a server that acknowledges what a crash of it can take back.
	UnsafeDurability bool
	// Logger is told what operators should know, slog.Default if nil.
	Logger *slog.Logger
	// Batch, if not nil, is told of each shared statement how many requests it is for. It must return at once.
	Batch func(requests int)

	now string // tests': an SQL expression instead of the server's clocks
	at  string
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxConns < 0 || o.BatchSize < 0 || o.Linger < 0 || o.Timeout < 0 || o.Retries < 0 {
		return o, errors.New("pgstore: negative option")
	}
	if o.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.BatchSize == 0 {
		o.BatchSize = DefaultBatchSize
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Retries == 0 {
		o.Retries = DefaultRetries
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.now == "" {
		o.now, o.at = serverClock, statementClock
	}
	return o, nil
}

// The server's time in microseconds since the Unix epoch: as it is, and as it was when a statement arrived, which is the same all over
// the statement. Of a double's 53 bits they need 51. (What extract returns is a numeric, with which each takes ten times as long.)
const (
	serverClock    = "(date_part('epoch', clock_timestamp()) * 1000000)::bigint"
	statementClock = "(date_part('epoch', statement_timestamp()) * 1000000)::bigint"
)
