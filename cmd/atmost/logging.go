package main

import (
	"io"
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

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
