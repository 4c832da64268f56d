package pgstore_test

import (
	"strings"
	"testing"

	"github.com/atmost-dev/atmost/store/pgstore"
)

// TestRedacted: no part of a password is shown, wherever it stands, and all else is.
func TestRedacted(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://h/db": "postgres://h/db",
		"postgresql://u@h:1,h2:2/db?target_session_attrs=rw": "postgresql://u@h:1,h2:2/db?target_session_attrs=rw",
		"postgres://u:s3cret@h/db":                           "postgres://u:xxxxx@h/db",
		"postgres://u:s3:cret@h:1,h2:2/db?a=b":               "postgres://u:xxxxx@h:1,h2:2/db?a=b",
		"postgres://u:@h":                                    "postgres://u:xxxxx@h",
		"postgres:///db?host=/run&password=s3cret":           "postgres:///db?host=/run&password=xxxxx",
		"postgres://h/db?pass%77ord=s3cret&a=b":              "postgres://h/db?pass%77ord=xxxxx&a=b",
		"postgres://h/db?sslpassword=s3cret":                 "postgres://h/db?sslpassword=xxxxx",
		"postgres://h/db?%zz=s3cret":                         "postgres://h/db?%zz=xxxxx",
		"postgres://h/db?a=b;password=s3cret":                "postgres://h/db?xxxxx",
		"postgres://u:s3@cret@h/db":                          "postgres://xxxxx",
		"postgres://u:s3/cret@h/db":                          "postgres://xxxxx",
		"postgres://u:s3?cret@h/db":                          "postgres://xxxxx",
		"postgres://u:s3@a/cret@h/db":                        "postgres://xxxxx",
		"host=h password=s3cret":                             "xxxxx",
		"":                                                   "xxxxx",
	} {
		got := pgstore.Redacted(url)
		if got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
		if again := pgstore.Redacted(got); again != got {
			t.Errorf("%s is shown as %s", got, again)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:s3cret@h:1,h2:2/db?target_session_attrs=read-write": "",
		"postgres:///db?host=/run":                 "",
		"postgres://u:s3cret@h/db?sslmode=perhaps": "sslmode",
		"postgres://u:s3cret@h:x/db":               "port",
		"postgres://u:s3cret%@h/db":                "write characters that are neither letters nor digits as %",
		"postgres://u:s3@cret@h/db":                "write characters that are neither letters nor digits as %",
		"postgres://u:12/34@h:1/db":                "write characters that are neither letters nor digits as %",
		"postgres://u:s3cret/@h/db":                "write characters that are neither letters nor digits as %",
	} {
		err := pgstore.CheckURL(url)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
