package wire

import "github.com/go-json-experiment/json/jsontext"

// Processing is the body that tells that an execution is under way.
const Processing = `{"status":"processing"}`

// AppendCompleted appends the body of an answer with a result, which must be one JSON value; its bytes are kept as they are.
func AppendCompleted(dst, result []byte) []byte {
	dst = append(dst, `{"status":"completed","result":`...)
	dst = append(dst, result...)
	return append(dst, '}')
}

// AppendError appends the body of an error. The details, when there are any, must be one JSON value; their bytes are kept as
// they are. In code and message, bytes that are not UTF-8 become U+FFFD.
func AppendError(dst []byte, code, message string, details []byte) []byte {
	dst = append(dst, `{"error":{"code":`...)
	dst = appendString(dst, code)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, message)
	if len(details) > 0 {
		dst = append(dst, `,"details":`...)
		dst = append(dst, details...)
	}
	return append(dst, `}}`...)
}

func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error is about bytes that it has already replaced
	return dst
}
