package wire

import (
	"math/rand/v2"
	"strconv"
)

// NewRequestID draws an id for one request, for HeaderRequestID and for logs.
func NewRequestID() string { return strconv.FormatUint(rand.Uint64()|1<<63, 36) }
