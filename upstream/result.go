package upstream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"
)

// convert makes JSON of a response body, for every input. JSON stays byte for byte what it is, white space, repeated
// names and digits included; nothing is null; text in UTF-8 is a string; all else, also what only calls itself one of
// these, becomes {"content_type":…,"base64":…}.
func convert(contentType string, body []byte) []byte {
	if len(body) == 0 {
		return []byte("null")
	}
	// What a parameter is wrong with does not change what the type is: mime then returns the type alone.
	media, params, _ := mime.ParseMediaType(contentType)
	switch {
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		// json.Valid lets through strings that are not UTF-8.
		if utf8.Valid(body) && json.Valid(body) {
			return body
		}
	case strings.HasPrefix(media, "text/"):
		if isUTF8(params["charset"]) && utf8.Valid(body) {
			return marshal(string(body))
		}
	}
	return marshal(opaque{ContentType: contentType, Base64: base64.StdEncoding.EncodeToString(body)})
}

type opaque struct {
	ContentType string `json:"content_type"`
	Base64      string `json:"base64"`
}

// isUTF8 reports whether text in charset, "" when none is named, is read as UTF-8.
func isUTF8(charset string) bool {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings always can be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
