package wire

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"0": 0, "7": 7 * time.Second, "": -1, "-1": -1, "1.5": -1, "soon": -1, "99999999999": -1,
			time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat): 20 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			got, ok := RetryAfter(http.Header{HeaderRetryAfter: {value}})
			if !ok {
				got = -1
			}
			if got != want {
				t.Errorf("%q is %v, want %v", value, got, want)
			}
		}
	})
}
