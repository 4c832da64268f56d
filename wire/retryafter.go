package wire

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfter reads that header (RFC 9110, section 10.2.3): seconds, or a date, which may be over. It reports whether there is one that
// makes sense.
func RetryAfter(h http.Header) (time.Duration, bool) {
	value := h.Get(HeaderRetryAfter)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0), true
	}
	return 0, false
}
