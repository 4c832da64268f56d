package atmostclient

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func executeBody(call atmost.Call) ([]byte, error) {
	body, err := appendCall(nil, call)
	return append(body, '}'), err
}

func claimBody(call atmost.ClaimCall) ([]byte, error) {
	body, err := appendCall(nil, call.Call)
	body = appendDuration(append(body, `,"lease":`...), call.Lease)
	body = append(body, ',')
	return append(appendToken(body, call.Token), '}'), err
}

func renewBody(token atmost.Token, lease time.Duration) []byte {
	body := appendToken([]byte{'{'}, token)
	return append(appendDuration(append(body, `,"lease":`...), lease), '}')
}

func completeBody(token atmost.Token, result []byte) ([]byte, error) {
	if result == nil {
		result = []byte("null")
	}
	body := append(appendToken([]byte{'{'}, token), `,"result":`...)
	return append(append(body, result...), '}'), oneValue("result", result)
}

func failBody(token atmost.Token, f atmost.Failure) []byte {
	body := append(appendToken([]byte{'{'}, token), `,"error":{"code":`...)
	body = append(appendString(body, f.Code), `,"message":`...)
	body = append(appendString(body, f.Message), `},"executed":`...)
	return append(appendString(body, string(f.Executed)), '}')
}

// appendCall begins a body with what is to be executed. The payload's bytes are sent as they are.
func appendCall(dst []byte, call atmost.Call) ([]byte, error) {
	dst = appendString(append(dst, `{"operation":`...), call.Operation)
	dst = append(append(dst, `,"payload":`...), call.Payload...)
	return dst, oneValue("payload", call.Payload)
}

// oneValue refuses what would be more, or other, than one value in a body.
func oneValue(what string, value []byte) error {
	if !json.Valid(value) {
		return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: fmt.Sprintf("the %s is not one JSON value", what)}
	}
	return nil
}

func appendToken(dst []byte, token atmost.Token) []byte {
	dst = wire.AppendToken(append(dst, `"lease_token":"`...), token)
	return append(dst, '"')
}

// appendDuration writes a duration in the units that the service reads, to the millisecond.
func appendDuration(dst []byte, d time.Duration) []byte {
	return fmt.Appendf(dst, `"%dms"`, d.Milliseconds())
}

func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // what is not UTF-8 becomes U+FFFD
	return dst
}
