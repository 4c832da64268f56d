package main

import (
	"io"
	stdlog "log"
	"log/slog"
	"os"
)

// newLogger logs to w as the configuration says: by itself, in text on a terminal and in JSON otherwise.
func newLogger(w io.Writer, c config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // checked when it was set
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == logText || c.LogFormat == logAuto && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// newLogger is the log of the service that p runs.
func (p process) newLogger(c config) *slog.Logger {
	log := newLogger(p.stderr, c)
	if p.logging != nil {
		p.logging(log)
	}
	return log
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// muteStandardLog has whatever the standard library logs by itself told to log, without its text: net/http quotes what an
// upstream sent, which may be keys and results. It holds for the whole process.
func muteStandardLog(log *slog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(muted{log})
}

// muted logs that something was written, and never what.
type muted struct{ log *slog.Logger }

func (m muted) Write(p []byte) (int, error) {
	m.log.Warn("a library logged something: it is left out here, as it may quote what an upstream sent", "bytes", len(p))
	return len(p), nil
}
