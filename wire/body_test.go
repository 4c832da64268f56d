package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/atmost-dev/atmost/wire"
)

func TestAppendError(t *testing.T) {
	for _, c := range []struct{ code, message, details, want string }{
		{"INTERNAL", "", "", `{"error":{"code":"INTERNAL","message":""}}`},
		{"A", "no & <html> / here", "", `{"error":{"code":"A","message":"no & <html> / here"}}`},
		{"A", "\"\\\n\x00\x1f", "", `{"error":{"code":"A","message":"\"\\\n\u0000\u001f"}}`},
		{"A", "é\u2028😀", "", "{\"error\":{\"code\":\"A\",\"message\":\"é\u2028😀\"}}"},
		{"A", "\xff", "", "{\"error\":{\"code\":\"A\",\"message\":\"\ufffd\"}}"},
		{"\"", "m", "", `{"error":{"code":"\"","message":"m"}}`},
		{"A", "m", `{"result": 1.10}`, `{"error":{"code":"A","message":"m","details":{"result": 1.10}}}`},
		{"A", "m", `null`, `{"error":{"code":"A","message":"m","details":null}}`},
	} {
		got := wire.AppendError([]byte("before "), c.code, c.message, []byte(c.details))
		if string(got) != "before "+c.want {
			t.Errorf("%s\nwant before %s", got, c.want)
		}
	}
}

func TestAppendCompleted(t *testing.T) {
	for result, want := range map[string]string{
		`null`:                               `{"status":"completed","result":null}`,
		`{"n": 9007199254740993, "p": 1.10}`: `{"status":"completed","result":{"n": 9007199254740993, "p": 1.10}}`,
		"\"<&>\u2028\\u0041\"":               "{\"status\":\"completed\",\"result\":\"<&>\u2028\\u0041\"}",
	} {
		if got := wire.AppendCompleted([]byte("before "), []byte(result)); string(got) != "before "+want {
			t.Errorf("%s\nwant before %s", got, want)
		}
	}
}

func TestProcessing(t *testing.T) {
	if wire.Processing != `{"status":"processing"}` {
		t.Error(wire.Processing)
	}
}

func FuzzAppendError(f *testing.F) {
	f.Add("INTERNAL", "it's \"odd\" \\ \x00 <b> \xff é\u2028", []byte(`{"a":[1,"x"]}`))
	f.Add("", "", []byte(nil))
	f.Fuzz(func(t *testing.T, code, message string, details []byte) {
		if !json.Valid(details) {
			details = nil
		}
		body := wire.AppendError(nil, code, message, details)
		var got struct {
			Error struct {
				Code, Message string
				Details       json.RawMessage
			}
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		e := got.Error
		if e.Code != valid(code) || e.Message != valid(message) || !bytes.Equal(bytes.TrimSpace(details), e.Details) {
			t.Fatalf("%q, %q, %q became %s", code, message, details, body)
		}
	})
}

// valid replaces every byte that is not UTF-8.
func valid(s string) string { return string([]rune(s)) }
