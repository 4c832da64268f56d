package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The forms of what commands print.
const (
	asTable = "table"
	asJSON  = "json"
	asLines = "jsonl"
)

// output is what a command prints its findings to.
type output struct {
	process
	format string
}

// addOutputFlag gives a command the flag -o.
func addOutputFlag(flags *pflag.FlagSet, p process) *output {
	o := &output{process: p}
	flags.StringVarP(&o.format, "output", "o", asTable, "form of the output: table, json, or jsonl, which is one value a line")
	return o
}

// completeOutput completes -o.
func completeOutput(c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{asTable, asJSON, asLines}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) check() error {
	if !slices.Contains([]string{asTable, asJSON, asLines}, o.format) {
		return problems{{path: "--output", text: fmt.Sprintf("%q is none of table, json, jsonl", o.format)}}
	}
	return nil
}

// colored reports whether colours are wanted: on a terminal, unless NO_COLOR is set (https://no-color.org).
func (o *output) colored() bool {
	off, _ := o.env("NO_COLOR")
	return off == "" && isTerminal(o.stdout)
}

// state is a state as it is shown in a table.
func (o *output) state(name string) string {
	color := ""
	switch name {
	case "unknown":
		color = "\x1b[31m"
	case "processing", "not_executed":
		color = "\x1b[33m"
	case "completed":
		color = "\x1b[32m"
	}
	if color == "" || !o.colored() {
		return name
	}
	return color + name + "\x1b[0m"
}

// value prints one value: as JSON, or by table.
func (o *output) value(v any, table func(w io.Writer)) error {
	if o.format == asTable {
		var b strings.Builder
		table(&b)
		_, err := io.WriteString(o.stdout, b.String())
		return err
	}
	return o.json(v, o.format == asJSON)
}

func (o *output) json(v any, indented bool) error {
	e := json.NewEncoder(o.stdout)
	e.SetEscapeHTML(false)
	if indented {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

// listing prints values of one kind.
type listing[T any] struct {
	to     *output
	header []string
	row    func(T) []string
	all    []T
}

// add adds a value. In lines it is printed at once.
func (l *listing[T]) add(v T) error {
	if l.to.format == asLines {
		return l.to.json(v, false)
	}
	l.all = append(l.all, v)
	return nil
}

// print prints what there is, when all has been added.
func (l *listing[T]) print() error {
	switch l.to.format {
	case asJSON:
		return l.to.json(append([]T{}, l.all...), true)
	case asTable:
		rows := [][]string{l.header}
		for _, v := range l.all {
			rows = append(rows, l.row(v))
		}
		var b strings.Builder
		columns(&b, rows)
		_, err := io.WriteString(l.to.stdout, b.String())
		return err
	}
	return nil
}

// end prints what has been added, though err came in between. If that is all there is, it prints nothing: no list is not an empty one.
func (l *listing[T]) end(err error) error {
	if err != nil && len(l.all) == 0 {
		return err
	}
	return errors.Join(l.print(), err)
}

// columns writes rows.
func columns(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-width(cell)+2))
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// width is how wide s is on a terminal, its colour left out.
func width(s string) int {
	if rest, colored := strings.CutPrefix(s, "\x1b["); colored {
		_, rest, _ = strings.Cut(rest, "m")
		s, _, _ = strings.Cut(rest, "\x1b")
	}
	return utf8.RuneCountInString(s)
}

// plain is what somebody else wrote, in one line, as a terminal can be given it: what could move its cursor, or change its colours, is
// escaped.
func plain(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)): // no character at all
			_, _ = fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// short is s, cut to n characters.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// scopeOf is how a scope is shown in a table.
func scopeOf(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}

// moment is a time as it is shown in a table.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
