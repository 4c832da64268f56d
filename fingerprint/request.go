package fingerprint

import (
	"crypto/sha256"
	"fmt"
	"mime"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// HTTP1 is for whole HTTP requests. Method, path, query, content type and body make a difference, other headers do not. A body that
// says that it is JSON, and is, is compared in the canonical form that JSON1 has; any other byte for byte.
//
// Its digest is the SHA-256 of: the algorithm's name, a zero byte, the method, the path, the query and the content type, each after
// its length in bytes as eight bytes (big-endian), then "j" and the body's canonical form, or "r" and the body as it is. The
// content type is written with its type and the names of its parameters in lower case, the parameters sorted by name, where it
// can be read that way; else as it is.
const HTTP1 Algorithm = "http1"

// CurrentRequest is the algorithm for requests that are new.
const CurrentRequest = HTTP1

// Request is what makes a difference between HTTP requests.
type Request struct {
	Method string
	// Path and Query are as the request line has them, still encoded; Query is without its question mark.
	Path, Query string
	// ContentType is the value of that header.
	ContentType string
	// Body is not modified.
	Body []byte
}

// OfRequest makes the fingerprint of an HTTP request. It may be called concurrently. The error wraps ErrUnknownAlgorithm.
func OfRequest(alg Algorithm, r Request) (Fingerprint, error) {
	if alg != HTTP1 {
		return Fingerprint{}, fmt.Errorf("%w %q for requests", ErrUnknownAlgorithm, alg)
	}
	contentType, isJSON := mediaType(r.ContentType)
	pooled := buffers.Get().(*[]byte)
	b := append(append((*pooled)[:0], alg...), 0)
	for _, part := range []string{r.Method, r.Path, r.Query, contentType} {
		b = appendPart(b, part)
	}
	b = appendBody(b, r.Body, isJSON)
	fp := Fingerprint{Algorithm: alg, Digest: sha256.Sum256(b)}
	if cap(b) <= maxPooled {
		*pooled = b
		buffers.Put(pooled)
	}
	return fp, nil
}

func appendBody(b, body []byte, isJSON bool) []byte {
	if isJSON {
		if formatted, err := jsontext.AppendFormat(append(b, 'j'), body, canonical...); err == nil {
			return formatted
		}
		// It only calls itself so.
	}
	return append(append(b, 'r'), body...)
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds the buffers that are kept for reuse, in bytes: a rare large body is not to hold on to memory.
const maxPooled = 64 << 10

// plainJSON is what most requests have, and is as it should be.
const plainJSON = "application/json"

// mediaType writes a content type in one way, and tells whether it is one of JSON.
func mediaType(value string) (normal string, isJSON bool) {
	if value == plainJSON {
		return value, true
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return value, false
	}
	isJSON = media == plainJSON || strings.HasSuffix(media, "+json")
	if normal = mime.FormatMediaType(media, params); normal == "" {
		return value, isJSON
	}
	return normal, isJSON
}
