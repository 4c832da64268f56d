package pebblestore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

var codecID = atmost.ID{Scope: "s", Key: "k"}

// golden is a record that has every field set that version 1 knows, and its encodings, which must stay readable for ever.
var golden = atmost.Record{
	ID:          codecID,
	Operation:   "charge",
	Fingerprint: fingerprint.Fingerprint{Algorithm: "a1", Digest: [32]byte{0: 1, 31: 2}},
	Policy: atmost.Policy{
		OnUnknown: atmost.RetryUnknown, ExecutedBy: atmost.ByClient,
		ResultRetention: 24 * time.Hour, KeyRetention: 720*time.Hour + time.Nanosecond,
	},
	Attempt:       300,
	Fence:         1_700_000_000_000_001,
	Token:         atmost.Token{0: 3, 15: 4},
	Deadline:      1_700_000_030_000_000,
	Outcome:       atmost.Outcome{State: atmost.Failed, Result: []byte(`{}`), NotKept: atmost.TooLarge, UpstreamStatus: 402, Message: "no"},
	SettledBy:     atmost.ByResolve,
	CreatedAt:     1_700_000_000_000_000,
	UpdatedAt:     1_700_000_001_000_000,
	ResultExpires: 1_700_086_401_000_000,
	KeyExpires:    1_702_592_001_000_007,
	Past:          []atmost.Past{{Token: atmost.Token{0: 5}, Contradicted: true}, {Token: atmost.Token{0: 6}}},

	Contradictions: 1,
}

const goldenV1 = "01030202020107" + // version, state, settled by, not kept, on unknown, executed by, presence
	goldenV1Middle +
	"027b7d" // result

const goldenV1Middle = "" +
	"0100000000000000000000000000000000000000000000000000000000000002" + // digest
	"03000000000000000000000000000004" + // token
	"06636861726765" + "026131" + "026e6f" + // operation, algorithm, message
	"ac02" + "01" + "a406" + // attempt, contradictions, upstream status
	"8080f28183898506" + "02" + "808ece1c" + "80897a" + // created at; fence, deadline, updated at
	"80c60a" + "00" + "80b4bc02" + "02" + // retentions
	"00" + "0e" + // result expires, key expires
	"02" + "05000000000000000000000000000000" + "01" + "06000000000000000000000000000000" + "00" // past

// golden2 has what version 2 knows besides.
var golden2 = func() atmost.Record {
	r := golden
	r.Trace, r.Paths = atmost.SpanID{0: 7, 23: 8}, []byte{1, 2, 3, 4}
	r.History = atmost.History{Entries: []atmost.Entry{
		{At: 1_700_000_000_000_000, What: atmost.WasResolved, Attempt: 300, Outcome: atmost.Failed, Actor: "ada", Note: "why"},
	}}
	return r
}()

const goldenV2 = "0203020202013f" + // version, state, settled by, not kept, on unknown, executed by, presence
	goldenV1Middle +
	"070000000000000000000000000000000000000000000008" + "0401020304" + // span, paths
	"17" + "010001" + "8080f28183898506" + "0803ac02" + "03616461" + "03776879" + // history
	"027b7d" // result

func TestCodecGolden(t *testing.T) {
	for _, v := range []struct {
		encoded string
		record  atmost.Record
	}{{goldenV1, golden}, {goldenV2, golden2}} {
		b, err := hex.DecodeString(v.encoded)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(codecID, b); err != nil || !reflect.DeepEqual(got, v.record) {
			t.Errorf("decoded as\n%+v, %v, want\n%+v", got, err, v.record)
		}
	}
	if got := hex.EncodeToString(encode(nil, &golden2)); got != goldenV2 {
		t.Errorf("encoded as\n%s, want\n%s", got, goldenV2)
	}
}

func TestCodecRefuses(t *testing.T) {
	b := encode(nil, &golden2)
	for n := range b {
		if r, err := decode(codecID, b[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("the first %d bytes were decoded as %+v, %v", n, r, err)
		}
	}
	if _, err := decode(codecID, append(bytes.Clone(b), 0)); !errors.Is(err, errCorrupt) {
		t.Errorf("a record and another byte: %v", err)
	}
	for i, limit := range []byte{codecVersion, 5, 2, 3, 2, 1, 63} {
		changed := bytes.Clone(b)
		changed[i] = limit + 1
		if _, err := decode(codecID, changed); !errors.Is(err, errCorrupt) {
			t.Errorf("byte %d being %d: %v", i, limit+1, err)
		}
	}
	changed := bytes.Clone(b)
	changed[0] = 1
	if _, err := decode(codecID, changed); !errors.Is(err, errCorrupt) {
		t.Errorf("what version 1 does not know, in a record of version 1: %v", err)
	}
	changed = bytes.Clone(b)
	changed[1] = byte(atmost.Absent)
	if _, err := decode(codecID, changed); !errors.Is(err, errCorrupt) {
		t.Errorf("an absent record: %v", err)
	}
	lost := golden2
	lost.State, lost.NotKept, lost.Result = atmost.Completed, atmost.Kept, nil
	if _, err := decode(codecID, encode(nil, &lost)); !errors.Is(err, errCorrupt) {
		t.Errorf("a record whose result is missing: %v", err)
	}
}

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		when := rapid.OneOf(
			rapid.Int64Range(1_700_000_000_000_000, 1_800_000_000_000_000),
			rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64}),
		)
		span := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, int64(time.Hour), math.MaxInt64, math.MinInt64}))
		at := func(name string) atmost.Time { return atmost.Time(when.Draw(rt, name)) }
		r := atmost.Record{
			ID:             codecID,
			Operation:      rapid.String().Draw(rt, "operation"),
			Attempt:        rapid.Uint32().Draw(rt, "attempt"),
			Contradictions: rapid.Uint32().Draw(rt, "contradictions"),
			Fence:          when.Draw(rt, "fence"),
			Deadline:       at("deadline"), CreatedAt: at("created"), UpdatedAt: at("updated"),
			ResultExpires: at("result expires"), KeyExpires: at("key expires"),
		}
		r.State = atmost.State(rapid.ByteRange(1, 5).Draw(rt, "state"))
		r.SettledBy = atmost.SettledBy(rapid.ByteRange(0, 2).Draw(rt, "settled by"))
		r.NotKept = atmost.NotKept(rapid.ByteRange(0, 3).Draw(rt, "not kept"))
		r.Policy.OnUnknown = atmost.OnUnknown(rapid.ByteRange(0, 2).Draw(rt, "on unknown"))
		r.Policy.ExecutedBy = atmost.ExecutedBy(rapid.ByteRange(0, 1).Draw(rt, "executed by"))
		r.Policy.ResultRetention = time.Duration(span.Draw(rt, "result retention"))
		r.Policy.KeyRetention = time.Duration(span.Draw(rt, "key retention"))
		r.UpstreamStatus = rapid.Int().Draw(rt, "status")
		r.Message = rapid.String().Draw(rt, "message")
		r.Fingerprint.Algorithm = fingerprint.Algorithm(rapid.String().Draw(rt, "algorithm"))
		copy(r.Token[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "token"))
		if rapid.Bool().Draw(rt, "has span") {
			copy(r.Trace[:], rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(rt, "span"))
		}
		if paths := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "paths"); len(paths) > 0 {
			r.Paths = paths
		}
		for range rapid.IntRange(0, 3).Draw(rt, "entries") {
			r.History.Entries = append(r.History.Entries, atmost.Entry{
				At: at("entry"), What: atmost.What(rapid.ByteRange(1, 9).Draw(rt, "what")), Note: rapid.String().Draw(rt, "note"),
			})
		}
		if rapid.Bool().Draw(rt, "has result") {
			r.Result = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(rt, "result")...)
		}
		if r.State == atmost.Completed && r.NotKept == atmost.Kept && len(r.Result) == 0 {
			r.Result = []byte(`null`)
		}
		for range rapid.IntRange(0, atmost.MaxPast).Draw(rt, "past") {
			r.Past = append(r.Past, atmost.Past{Token: r.Token, Contradicted: rapid.Bool().Draw(rt, "contradicted")})
		}
		b := encode(nil, &r)
		got, err := decode(codecID, b)
		if err != nil || !reflect.DeepEqual(got, r) {
			rt.Fatalf("decoded as\n%+v, %v, want\n%+v", got, err, r)
		}
		clear(b)
		if !reflect.DeepEqual(got, r) {
			rt.Fatalf("the record shares memory with what it was decoded from")
		}
	})
}

// FuzzDecode: whatever is stored, it is a record or an error, and a record stays the same when it is stored again.
func FuzzDecode(f *testing.F) {
	f.Add(encode(nil, &golden))
	f.Add(encode(nil, &atmost.Record{Outcome: atmost.Outcome{State: atmost.Processing}, Deadline: math.MinInt64, CreatedAt: math.MaxInt64}))
	f.Add([]byte{codecVersion})
	f.Add([]byte{})
	f.Add(append(encode(nil, &golden)[:7+32+16], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(codecID, b)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		again, err := decode(codecID, encode(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%x is\n%+v, and stored again\n%+v, %v", b, r, again, err)
		}
	})
}

// TestLeases compares the heap with a map that is searched.
func TestLeases(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, model := newLeases(), map[atmost.ID]atmost.Time{}
		rt.Repeat(map[string]func(*rapid.T){
			"track": func(rt *rapid.T) {
				r := atmost.Record{ID: atmost.ID{Key: rapid.StringN(1, 1, 1).Draw(rt, "key")}}
				r.Deadline = atmost.Time(rapid.Int64Range(0, 9).Draw(rt, "deadline"))
				delete(model, r.ID)
				if rapid.Bool().Draw(rt, "processing") {
					r.State = atmost.Processing
					model[r.ID] = r.Deadline
				}
				l.track(&r)
			},
			"": func(rt *rapid.T) {
				first := atmost.Time(math.MaxInt64)
				for _, d := range model {
					first = min(first, d)
				}
				if id, ok := l.earliest(first); l.len() != len(model) || len(model) > 0 && (!ok || model[id] != first) {
					rt.Fatalf("%d leases, the first %v, %v; want %d, at %d", l.len(), id, ok, len(model), first)
				}
				if id, ok := l.earliest(first - 1); ok {
					rt.Fatalf("%v is due too early", id)
				}
			},
		})
	})
}
