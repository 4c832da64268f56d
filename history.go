package atmost

import (
	"encoding/binary"
	"errors"
	"slices"
)

// What is one kind of thing that a record went through. The numbers are stored.
type What uint8

// What a record can go through.
const (
	// WasClaimed: an attempt began.
	WasClaimed What = 1
	// WasRenewed: its lease was prolonged, the last time at the entry's moment. That is told while it is processing, and if it lapsed.
	WasRenewed What = 2
	// WasReported: the attempt told how it ended.
	WasReported What = 3
	// WasLapsed: its lease ended without a report, or the process that executed it did.
	WasLapsed What = 4
	// WasProbed: a probe of the unknown attempt was answered, in vain. Of several in a row that say the same the last is kept.
	WasProbed What = 5
	// WasReportedLate: the attempt told how it ended after it had been given up for unknown.
	WasReportedLate What = 6
	// WasContradicted: a report differed from what was held to be true, and did not change it.
	WasContradicted What = 7
	// WasResolved: a probe, or a person, settled the attempt.
	WasResolved What = 8
	// WasErased: a person had the result dropped.
	WasErased What = 9
)

var whatNames = [...]string{
	"", "claimed", "renewed", "reported", "lapsed", "probed", "reported_late", "contradicted", "resolved", "erased",
}

// String is the name in the API.
func (w What) String() string {
	if w == 0 || int(w) >= len(whatNames) {
		return "invalid"
	}
	return whatNames[w]
}

// Entry is one thing that a record went through.
type Entry struct {
	At   Time
	What What
	// Attempt is the one that it is about, 0 for an earlier one whose number is not known.
	Attempt uint32
	// Outcome is what the entry says of the attempt, Absent if it says nothing.
	Outcome State
	// Actor is the person who did it, "" if none did.
	Actor string
	// Note is the outcome's message, or the person's reason; at most MaxNote bytes.
	Note string
}

// Bounds of a record's history.
const (
	// MaxHistory bounds its entries. Renewals and probes in vain are dropped first, then what earlier attempts went through, the oldest
	// first; what the newest attempt came to is kept.
	MaxHistory = 32
	// MaxNote bounds the note of one, in bytes.
	MaxNote = 500
)

// History is what a record went through and does not tell by itself any more. It is not modified, but replaced.
type History struct {
	// Entries are in the order in which they were written, the oldest first.
	Entries []Entry
	// Dropped counts those that there was no room for.
	Dropped uint32
}

// Timeline returns all that is known of what r went through, the oldest first: its history, and what r itself tells.
func (r Record) Timeline() []Entry {
	if r.State == Absent {
		return nil
	}
	r.keep()
	if r.State == Processing {
		r.renewed()
	}
	return r.History.Entries
}

// ClaimedAt is when the newest attempt was claimed. It can be later than that by as many microseconds as the key was claimed
// more often than once in one.
func (r Record) ClaimedAt() Time { return Time(r.Fence) }

// keep writes into the history what r itself tells, before that is overwritten.
func (r *Record) keep() {
	// What was resolved has an entry that says so, and was reported by nobody.
	begun, ended := false, r.State == Processing || r.SettledBy == ByResolve
	for _, e := range r.History.Entries {
		if e.Attempt == r.Attempt {
			begun = begun || e.What == WasClaimed
			ended = ended || e.What != WasContradicted && e.Outcome == r.State
		}
	}
	if !begun {
		r.note(Entry{At: r.ClaimedAt(), What: WasClaimed, Attempt: r.Attempt})
	}
	if !ended {
		r.note(Entry{At: r.UpdatedAt, What: WasReported, Attempt: r.Attempt, Outcome: r.State, Note: r.Message})
	}
}

// note adds an entry, and drops another if there is no room for it.
func (r *Record) note(e Entry) {
	e.Note = bounded(e.Note, MaxNote)
	entries := append(slices.Clone(r.History.Entries), e)
	dropped := r.History.Dropped
	for ; len(entries) > MaxHistory; dropped++ {
		i := slices.IndexFunc(entries[:MaxHistory], func(e Entry) bool { return e.What == WasRenewed || e.What == WasProbed })
		i = max(i, 0) // else the oldest: of all else one attempt has a few, so that is an earlier one's
		entries = slices.Delete(entries, i, i+1)
	}
	r.History = History{Entries: entries, Dropped: dropped}
}

// contradictedBy reports whether it is written down that the newest attempt reported state, against what is held to be true.
func (r *Record) contradictedBy(state State) bool {
	return slices.ContainsFunc(r.History.Entries, func(e Entry) bool {
		return e.What == WasContradicted && e.Attempt == r.Attempt && e.Outcome == state
	})
}

// renewed writes down that the lease was prolonged, if it was. The record is processing.
func (r *Record) renewed() {
	if r.UpdatedAt > r.ClaimedAt() {
		r.note(Entry{At: r.UpdatedAt, What: WasRenewed, Attempt: r.Attempt})
	}
}

// probed writes down an answer that settled nothing.
func (r *Record) probed(at Time, note string) {
	r.keep()
	e := Entry{At: at, What: WasProbed, Attempt: r.Attempt, Note: bounded(note, MaxNote)}
	if n := len(r.History.Entries); n > 0 {
		if last := r.History.Entries[n-1]; last.What == e.What && last.Attempt == e.Attempt && last.Note == e.Note {
			entries := slices.Clone(r.History.Entries)
			entries[n-1] = e
			r.History.Entries = entries
			return
		}
	}
	r.note(e)
}

// erase drops what outcomes' messages may tell of a result. What people wrote stays.
func (h *History) erase() {
	told := func(e Entry) bool { return e.Actor == "" && e.Note != "" }
	if !slices.ContainsFunc(h.Entries, told) {
		return
	}
	entries := slices.Clone(h.Entries)
	for i := range entries {
		if told(entries[i]) {
			entries[i].Note = ""
		}
	}
	h.Entries = entries
}

// historyVersion is the first byte of an encoded history.
const historyVersion = 1

// AppendBinary appends h's encoding, which stores keep, and which later releases can read; nothing for an empty history.
func (h History) AppendBinary(b []byte) ([]byte, error) {
	if len(h.Entries) == 0 && h.Dropped == 0 {
		return b, nil
	}
	b = binary.AppendUvarint(append(b, historyVersion), uint64(h.Dropped))
	b = binary.AppendUvarint(b, uint64(len(h.Entries)))
	for _, e := range h.Entries {
		b = append(binary.AppendVarint(b, int64(e.At)), byte(e.What), byte(e.Outcome))
		b = binary.AppendUvarint(b, uint64(e.Attempt))
		b = append(binary.AppendUvarint(b, uint64(len(e.Actor))), e.Actor...)
		b = append(binary.AppendUvarint(b, uint64(len(e.Note))), e.Note...)
	}
	return b, nil
}

// errHistory is the error about bytes that are no history, or one of a later release.
var errHistory = errors.New("atmost: not a history that this release can read")

// UnmarshalBinary sets h to what AppendBinary encoded. It shares no memory with b.
func (h *History) UnmarshalBinary(b []byte) error {
	*h = History{}
	if len(b) == 0 {
		return nil
	}
	d := historyDecoder{b: b[1:], bad: b[0] != historyVersion}
	dropped, n := d.uvarint(), d.uvarint()
	if d.bad || dropped > 1<<32-1 || n > MaxHistory {
		return errHistory
	}
	entries := make([]Entry, n)
	for i := range entries {
		e := &entries[i]
		e.At = Time(d.varint())
		e.What, e.Outcome = What(d.byte()), State(d.byte())
		attempt := d.uvarint()
		e.Attempt = uint32(attempt)
		e.Actor, e.Note = d.string(), d.string()
		d.bad = d.bad || attempt > 1<<32-1 || e.Outcome > Unknown
	}
	if d.bad || len(d.b) != 0 {
		return errHistory
	}
	if n == 0 {
		entries = nil
	}
	*h = History{Entries: entries, Dropped: uint32(dropped)}
	return nil
}

// historyDecoder reads from the front of b. Once something did not fit, bad is set and all that is read is zero.
type historyDecoder struct {
	b   []byte
	bad bool
}

func (d *historyDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	return advance(d, v, n)
}

func (d *historyDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	return advance(d, v, n)
}

func advance[V any](d *historyDecoder, v V, n int) V {
	if d.bad || n <= 0 {
		d.bad = true
		var zero V
		return zero
	}
	d.b = d.b[n:]
	return v
}

func (d *historyDecoder) byte() byte {
	if d.bad || len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *historyDecoder) string() string {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
