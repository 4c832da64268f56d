package pebblestore

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
)

// formatMajorVersion is what the files in a directory look like. It is pinned, as Pebble's default is its oldest and an upgrade
// cannot be undone: this one has WAL sync chunks, which tell a torn tail of the log from damage in its middle,
// columnar blocks, without which Pebble cannot run in a testing/synctest bubble, and checksums in the footers of tables.
const formatMajorVersion = pebble.FormatTableFormatV6

// The defaults of Options.
const (
	DefaultCacheSize   = 64 << 20
	DefaultDiskReserve = 256 << 20
)

// memTableSize bounds what has to be replayed from the log when a directory is opened.
const memTableSize = 16 << 20

// Options are all optional.
type Options struct {
	// Clock is atmost.SystemClock if nil.
	Clock atmost.Clock
	// Logger is told what operators should know, slog.Default if nil.
	Logger *slog.Logger
	// CacheSize is how many bytes of the directory are kept in memory, DefaultCacheSize if 0.
	CacheSize int64
	// DiskReserve is how much free space, in bytes, is kept for what has been claimed already: when there is less, no
	// new attempt can be claimed. DefaultDiskReserve if 0.
	DiskReserve uint64
	// Fatal is called, once, when something could not be made durable: from then on the store does not know what it
	// holds, and must be opened again. The default logs err and ends the process with status 1. It must not call the
	// store. Where it returns, as in a test, no call to the store gives an answer any more.
	Fatal func(err error)
	// FS is the operating system's file system if nil. Tests bring others.
	FS vfs.FS
	// Tune, if not nil, may change Pebble's own options: for simulations and measurements.
	Tune func(*pebble.Options)
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = atmost.SystemClock()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.CacheSize == 0 {
		o.CacheSize = DefaultCacheSize
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = DefaultDiskReserve
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(err error) {
			logger.Error("the store cannot make anything durable any more, the process ends", "error", err)
			os.Exit(1)
		}
	}
	return o
}

// fs is the file system as this package uses it itself.
func (o *Options) fs() vfs.FS {
	if o.FS == nil {
		return private{vfs.Default}
	}
	return o.FS
}

// private is a file system in which others cannot look into the directories that are made. Pebble would let them into those of a backup.
type private struct{ vfs.FS }

func (p private) MkdirAll(dir string, _ os.FileMode) error { return p.FS.MkdirAll(dir, 0o750) }
func (p private) Unwrap() vfs.FS                           { return p.FS }

// pebble returns options for one Open; Pebble keeps and changes what it is given.
func (o *Options) pebble(fatal func(error)) *pebble.Options {
	log := pebbleLogger{o.Logger, fatal}
	p := &pebble.Options{
		FormatMajorVersion:          formatMajorVersion,
		FS:                          o.fs(),
		CacheSize:                   o.CacheSize,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      log,
		EventListener:               log.events(),
	}
	if o.FS == nil {
		p.WithFSDefaults() // which detects slow disks
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if o.Tune != nil {
		o.Tune(p)
	}
	return p
}

// pebbleLogger passes on what matters of what Pebble has to tell.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(error)
}

func (pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf is where Pebble ends when it could not write its log or its manifest. It would go on as if it had, so it must not
// get back to anybody who answers.
func (l pebbleLogger) Fatalf(format string, args ...any) { l.fatal(fmt.Errorf(format, args...)) }

func (l pebbleLogger) events() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			l.log.Error("the store found damaged data", "path", i.Path, "details", i.Details)
		},
		DiskSlow:        func(i pebble.DiskSlowInfo) { l.log.Warn("the disk is slow", "path", i.Path, "duration", i.Duration) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) { l.log.Warn("writes wait for the disk", "reason", i.Reason) },
	}
}
