package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one value that can be set in the file, and by the environment under envName. Lists are written with commas where
// there is only text.
type setting[T any] struct {
	name string // as in the file, sections divided by dots
	list bool
	set  func(into *T, value string) error // an error says what is wrong and what would be right
	get  func(*T) string                   // what set takes, "" for nothing

	truth bool                // it is true or false
	hide  func(string) string // takes out of a value what is secret, nil if nothing can be
}

// hiding is s with hide. The value of such a setting can also be in a file, which the environment names under fileEnvName.
func (s setting[T]) hiding(hide func(string) string) setting[T] {
	s.hide = hide
	return s
}

// shown is the setting's value for people to see.
func (s setting[T]) shown(from *T) string {
	if s.hide == nil {
		return s.get(from)
	}
	return s.hide(s.get(from))
}

// envName is the environment variable of the setting called name.
func envName(name string) string {
	return "ATMOST_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// fileEnvName is the environment variable that names a file with the value of the setting called name.
func fileEnvName(name string) string { return envName(name) + "_FILE" }

// flagName is the flag of the setting called name, where it has one.
func flagName(name string) string {
	return strings.ReplaceAll(name[strings.LastIndex(name, ".")+1:], "_", "-")
}

func text[T any](name string, field func(*T) *string, check func(string) error) setting[T] {
	return setting[T]{
		name: name,
		set: func(into *T, value string) error {
			if err := check(value); err != nil {
				return err
			}
			*field(into) = value
			return nil
		},
		get: func(from *T) string { return *field(from) },
	}
}

func choice[T any](name string, field func(*T) *string, words ...string) setting[T] {
	return text(name, field, func(value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", value, strings.Join(words, ", "))
	})
}

func truthOf[T any](name string, field func(*T) *bool) setting[T] {
	return setting[T]{
		name: name, truth: true,
		set: func(into *T, value string) error {
			if value != "true" && value != "false" {
				return fmt.Errorf("%q is neither true nor false", value)
			}
			*field(into) = value == "true"
			return nil
		},
		get: func(from *T) string { return strconv.FormatBool(*field(from)) },
	}
}

func duration[T any](name string, field func(*T) *time.Duration, least, most time.Duration) setting[T] {
	return setting[T]{
		name: name,
		set: func(into *T, value string) error {
			d, err := time.ParseDuration(value)
			switch {
			case err != nil:
				return fmt.Errorf("%q is not a duration; write a number with its unit, for example 10s, 1m30s or 24h", value)
			case d < least || d > most:
				return fmt.Errorf("%s is not between %s and %s", value, formatDuration(least), formatDuration(most))
			}
			*field(into) = d
			return nil
		},
		get: func(from *T) string { return formatDuration(*field(from)) },
	}
}

func number[T any](name string, field func(*T) *int, least, most int) setting[T] {
	return setting[T]{
		name: name,
		set: func(into *T, value string) error {
			n, err := strconv.Atoi(value)
			switch {
			case err != nil:
				return fmt.Errorf("%q is not a whole number", value)
			case n < least || n > most:
				return fmt.Errorf("%d is not between %d and %d", n, least, most)
			}
			*field(into) = n
			return nil
		},
		get: func(from *T) string { return strconv.Itoa(*field(from)) },
	}
}

func size[T any](name string, field func(*T) *int64, least, most int64) setting[T] {
	return setting[T]{
		name: name,
		set: func(into *T, value string) error {
			n, err := parseSize(value)
			switch {
			case err != nil:
				return err
			case n < least || n > most:
				return fmt.Errorf("%s is not between %s and %s", value, formatSize(least), formatSize(most))
			}
			*field(into) = n
			return nil
		},
		get: func(from *T) string { return formatSize(*field(from)) },
	}
}

func statuses[T any](name string, field func(*T) *[]int, check func(int) error) setting[T] {
	return setting[T]{
		name: name, list: true,
		set: func(into *T, value string) error {
			list, wrong := []int{}, []string{}
			for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
				n, err := strconv.Atoi(word)
				if err != nil {
					err = fmt.Errorf("%q is not an HTTP status; write a list of numbers, for example [429, 503]", word)
				} else {
					err = check(n)
				}
				if err != nil {
					wrong = append(wrong, err.Error())
				}
				list = append(list, n)
			}
			if len(wrong) > 0 {
				return errors.New(strings.Join(wrong, "; "))
			}
			*field(into) = list
			return nil
		},
		get: func(from *T) string {
			words := make([]string, len(*field(from)))
			for i, n := range *field(from) {
				words[i] = strconv.Itoa(n)
			}
			return strings.Join(words, ",")
		},
	}
}

// words is a list of them.
func words[T any](name string, field func(*T) *[]string, check func(string) error) setting[T] {
	return setting[T]{
		name: name, list: true,
		set: func(into *T, value string) error {
			list := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			for _, word := range list {
				if err := check(word); err != nil {
					return err
				}
			}
			*field(into) = list
			return nil
		},
		get: func(from *T) string { return strings.Join(*field(from), ",") },
	}
}

// within are the settings of something as those of what it is a part of.
func within[Part, Whole any](all []setting[Part], part func(*Whole) *Part) []setting[Whole] {
	made := make([]setting[Whole], len(all))
	for i, s := range all {
		made[i] = setting[Whole]{
			name: s.name, list: s.list, truth: s.truth, hide: s.hide,
			set: func(into *Whole, value string) error { return s.set(part(into), value) },
			get: func(from *Whole) string { return s.get(part(from)) },
		}
	}
	return made
}

// formatDuration is d.String() without its trailing zeros: 10m0s is 10m.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnits are the units of sizes, largest first.
func sizeUnits() []string { return []string{"TiB", "GiB", "MiB", "KiB"} }

// parseSize reads a number of bytes.
func parseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for i, name := range sizeUnits() {
		if rest, ok := strings.CutSuffix(s, name); ok {
			digits, unit = strings.TrimRight(rest, " "), 1<<(10*(len(sizeUnits())-i))
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size; write a number of bytes, or one with KiB, MiB or GiB, for example 1MiB", s)
	}
	if n > (1<<62)/unit || n < 0 {
		return 0, errors.New(s + " is out of range")
	}
	return n * unit, nil
}

// formatSize writes n in the largest unit that divides it.
func formatSize(n int64) string {
	for i, name := range sizeUnits() {
		unit := int64(1) << (10 * (len(sizeUnits()) - i))
		if n >= unit && n%unit == 0 {
			return strconv.FormatInt(n/unit, 10) + name
		}
	}
	return strconv.FormatInt(n, 10)
}
