package wire

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// Prefer reads how long a request wants to wait for an answer, from its Prefer headers (RFC 7240).
//
// wait=N asks for N seconds, and gets at most atmost.MaxWait; respond-async asks for none, unless wait asks for more. set tells
// that one of the two was honoured; applied is then the value of Preference-Applied, with the wait that counts. Only the first
// occurrence of a preference counts, also when it makes no sense (section 2). All else is ignored.
func Prefer(h http.Header) (wait time.Duration, set bool, applied string) {
	var seenWait, hasWait, seenAsync, hasAsync bool
	for _, value := range h[HeaderPrefer] {
		for value != "" {
			var element string
			element, value = cutUnquoted(value, ',')
			name, word := preference(element)
			switch {
			case !seenWait && strings.EqualFold(name, "wait"):
				seenWait = true
				wait, hasWait = waitOf(word)
			case !seenAsync && strings.EqualFold(name, "respond-async"):
				seenAsync, hasAsync = true, word == ""
			}
		}
	}
	if hasAsync {
		applied = "respond-async"
	}
	if hasWait {
		if hasAsync {
			applied += ", "
		}
		applied += "wait=" + strconv.Itoa(int(wait/time.Second))
	}
	return wait, hasWait || hasAsync, applied
}

// waitOf reads delta-seconds, a number of digits of any length.
func waitOf(word string) (time.Duration, bool) {
	if word == "" || strings.Trim(word, "0123456789") != "" {
		return 0, false
	}
	const most = int(atmost.MaxWait / time.Second)
	n, err := strconv.Atoi(word)
	if err != nil || n > most { // digits fail only by being too many
		n = most
	}
	return time.Duration(n) * time.Second, true
}

// preference reads one element of a Prefer header: its name and its value, "" when it has none. Parameters are cut off. A
// value that is no token or quoted-string is returned as it is.
func preference(element string) (name, word string) {
	element, _ = cutUnquoted(element, ';')
	name, word, _ = strings.Cut(element, "=")
	name, word = strings.Trim(name, " \t"), strings.Trim(word, " \t")
	if unquoted, ok := unquote(word); ok {
		word = unquoted
	}
	return name, word
}

// cutUnquoted cuts s at the first sep that is not inside a quoted-string (RFC 9110, section 5.6.4).
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// unquote reads a quoted-string that is all of s.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}
