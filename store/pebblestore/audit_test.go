package pebblestore

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/atmost-dev/atmost"
)

func TestAuditGolden(t *testing.T) {
	entry := atmost.AuditEntry{
		At: 1_700_000_000_000_000, Actor: atmost.Actor{Name: "ada", Reason: "why"}, Action: atmost.AuditErase,
		ID: atmost.ID{Scope: "s", Key: "k"}, Operation: "charge", Attempt: 300, Before: atmost.Completed, After: atmost.Failed,
	}
	const golden = "01020203" + "8080f28183898506" + "ac02" + "03616461" + "03776879" + "0173" + "016b" + "06636861726765"
	b := encodeAudit(&entry)
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("encoded as\n%s, want\n%s", got, golden)
	}
	if got, err := decodeAudit(b); err != nil || !reflect.DeepEqual(got, entry) {
		t.Errorf("decoded as %+v, %v", got, err)
	}
	for n := range b {
		if e, err := decodeAudit(b[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d bytes were decoded as %+v, %v", n, e, err)
		}
	}
	if _, err := decodeAudit(append(b, 0)); !errors.Is(err, errCorrupt) {
		t.Errorf("an entry and another byte: %v", err)
	}
}

func FuzzAudit(f *testing.F) {
	f.Add(encodeAudit(&atmost.AuditEntry{Action: atmost.AuditAdmit, Actor: atmost.Actor{Name: "ada", Reason: "why"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeAudit(b)
		if err != nil {
			return
		}
		if again, err := decodeAudit(encodeAudit(&e)); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v became %+v, %v", e, again, err)
		}
	})
}
