package simtest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/atmost-dev/atmost"
)

// judge sees what is asked of the store and what it answers, in all lives of the service, and holds it to what was promised:
//
//	I1  one token at most is given for an attempt
//	I2  an outcome that was told is never lost or changed within its retention
//	I3  attempts grow within a life of a key, fences across all of them
//	I4  a stale token changes nothing
//	I5  a result is told with the same bytes each time
//	I6  an attempt follows on another only where that was not executed, as far as was reported; the bank has at most
//	    one effect of each, and no effect is forgotten; a second one is seen
//	I7  what was told before a crash holds after it
//	I8  an expired key does not come back
//
// Answers overlap. So each is held only to those that had come before it was asked for.
type judge struct {
	w *world

	mu         sync.Mutex
	time       int // counts what happens, as moments of virtual time may be the same
	stories    map[string]*story
	violations []string
}

// story is what is known of one key.
type story struct {
	tokens   map[int64]atmost.Token // of each fence
	attempts map[[2]int64]int64     // fence of each attempt in each life
	finals   map[int64]string       // outcome of each fence
	floor    sight                  // the most that has been told
	lives    map[atmost.Time]bool   // when they began

	refuted map[uint32]bool // attempts that somebody called not executed
	wrong   map[uint32]bool // those of them that were called so by an operator
	forgets bool            // an operator asked for it
	erases  bool
	starts  map[int64]uint32 // attempt of each fence that was won
	exposed int              // contradicting reports that were answered
}

// sight is an answer that was given at a moment.
type sight struct {
	at      int
	fence   int64
	absent  bool
	final   string // empty if it is not
	attempt uint32
	life    atmost.Time // when it began
	contras uint32
}

func newJudge(w *world) *judge { return &judge{w: w, stories: map[string]*story{}} }

// complain notes that a promise was broken.
func (j *judge) complain(key, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.complainLocked(key, format, args...)
}

func (j *judge) complainLocked(key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.violations = append(j.violations, strings.TrimSpace(key+" "+text))
	if !j.w.ended {
		j.w.log("JUDGE", key, "%s", text)
	}
}

// tick returns a moment after all that were before.
func (j *judge) tick() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.time++
	return j.time
}

func (j *judge) story(key string) *story {
	s := j.stories[key]
	if s == nil {
		s = &story{
			tokens: map[int64]atmost.Token{}, attempts: map[[2]int64]int64{}, finals: map[int64]string{},
			refuted: map[uint32]bool{}, wrong: map[uint32]bool{}, starts: map[int64]uint32{}, lives: map[atmost.Time]bool{},
		}
		j.stories[key] = s
	}
	return s
}

// submits notes what is asked of the store, and when: it may be done even if nobody will ever be told.
func (j *judge) submits(id atmost.ID, event atmost.Event) (moment int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.time++
	s := j.story(id.Key)
	switch e := event.(type) {
	case *atmost.Finish:
		for fence, token := range s.tokens {
			if token.Matches(e.Token) && e.Outcome.State == atmost.NotExecuted {
				s.refuted[s.starts[fence]] = true
			}
		}
	case *atmost.Resolve:
		if e.Outcome.State == atmost.NotExecuted {
			s.refuted[e.Attempt] = true
			s.wrong[e.Attempt] = e.By != nil || s.wrong[e.Attempt]
		}
	case *atmost.Forget:
		s.forgets = true
	case *atmost.Erase:
		s.erases = true
	}
	return j.time
}

// applied judges the answer to an event.
func (j *judge) applied(begin int, id atmost.ID, event atmost.Event, step atmost.Step, err error) {
	code := atmost.CodeOf(err)
	if err != nil && code == atmost.CodeInternal {
		return // the store failed, and told nothing
	}
	j.mu.Lock()
	s := j.story(id.Key)
	switch e := event.(type) {
	case *atmost.Claim:
		if e.Won(step.Record) && step.Changed {
			j.won(s, step.Record, e.Token)
		}
	case *atmost.Finish:
		if step.Changed && !step.Contradiction && (err != nil || !step.Record.Token.Matches(e.Token)) {
			j.complainLocked(id.Key, "I4: a report with a stale token changed the record: %v", err)
		}
		if step.Contradiction {
			s.exposed++
		}
	}
	j.mu.Unlock()
	if step.Record.Attempt > 0 || step.Record.State == atmost.Absent && err == nil {
		j.saw(begin, step.Record)
	}
}

// won notes that an attempt begins. The caller holds the lock.
func (j *judge) won(s *story, r atmost.Record, token atmost.Token) {
	if known, ok := s.tokens[r.Fence]; ok && !known.Matches(token) {
		j.complainLocked(r.ID.Key, "I1: two claims won attempt %d", r.Attempt)
	}
	name := [2]int64{int64(r.CreatedAt), int64(r.Attempt)}
	if fence, ok := s.attempts[name]; ok && fence != r.Fence {
		j.complainLocked(r.ID.Key, "I1: attempt %d began twice", r.Attempt)
	}
	s.attempts[name], s.tokens[r.Fence], s.starts[r.Fence] = r.Fence, token, r.Attempt
	if r.Attempt > 1 && !s.refuted[r.Attempt-1] && r.Policy.OnUnknown != atmost.RetryUnknown {
		j.complainLocked(r.ID.Key, "I6: attempt %d began, and nobody ever said that the one before was not executed", r.Attempt)
	}
}

// saw judges a record that was told, after it was asked for at a moment.
func (j *judge) saw(begin int, r atmost.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if strings.HasPrefix(r.ID.Key, "self-test") {
		return
	}
	s := j.story(r.ID.Key)
	if r.State != atmost.Absent {
		s.lives[r.CreatedAt] = true
	}
	now := sight{fence: r.Fence, absent: r.State == atmost.Absent, attempt: r.Attempt, life: r.CreatedAt, contras: r.Contradictions}
	if r.State.Final() {
		now.final = r.State.String() + " " + string(r.Result)
		if r.NotKept != 0 {
			now.final = r.State.String()
		}
		j.final(s, r, now.final)
	}
	j.time++
	now.at = j.time
	if s.floor.at < begin {
		j.compare(s, r, now)
	}
	if now.fence > s.floor.fence || now.fence == s.floor.fence && (s.floor.final == "" || now.absent) {
		s.floor = now
	}
}

// final judges an outcome that was told. The caller holds the lock.
func (j *judge) final(s *story, r atmost.Record, final string) {
	if r.NotKept != 0 {
		if r.NotKept == atmost.Expired && r.Operation != brief || r.NotKept == atmost.Erased && !s.erases {
			j.complainLocked(r.ID.Key, "I2: the result of attempt %d is gone: %v", r.Attempt, r.NotKept)
		}
		return
	}
	if known, ok := s.finals[r.Fence]; ok && known != final {
		j.complainLocked(r.ID.Key, "I2, I5: attempt %d was told as %q, and as %q", r.Attempt, known, final)
	}
	s.finals[r.Fence] = final
	if r.State == atmost.Completed && r.SettledBy == atmost.ByReport && !strings.Contains(final, fmt.Sprintf(`%q,"attempt":%d`, r.ID.Key, r.Attempt)) {
		j.complainLocked(r.ID.Key, "I4: attempt %d has another's result: %s", r.Attempt, final)
	}
}

// compare holds an answer to the one that came before it was asked for. The caller holds the lock.
func (j *judge) compare(s *story, r atmost.Record, now sight) {
	was, key := s.floor, r.ID.Key
	mayExpire := j.w.mayExpire(key)
	switch {
	case was.fence == 0:
	case now.absent && !was.absent && !mayExpire:
		j.complainLocked(key, "I2, I7: it is absent, after attempt %d was told", was.attempt)
	case !now.absent && now.fence < was.fence:
		j.complainLocked(key, "I3, I7, I8: it is in attempt %d with fence %d, after attempt %d with fence %d was told", r.Attempt, r.Fence, was.attempt, was.fence)
	case !now.absent && now.fence == was.fence && was.absent:
		j.complainLocked(key, "I8: attempt %d is back after it had expired", r.Attempt)
	case now.fence == was.fence && was.final != "" && !now.absent && now.final == "":
		j.complainLocked(key, "I2, I7: attempt %d is %v, after it was told as %q", r.Attempt, r.State, was.final)
	case now.fence > was.fence && was.final != "" && !mayExpire:
		j.complainLocked(key, "I2: attempt %d was told as %q, and now there is attempt %d", was.attempt, was.final, now.attempt)
	case !now.absent && r.Contradictions < was.contras && r.CreatedAt == was.life:
		j.complainLocked(key, "I2: %d contradictions were counted, and now %d", was.contras, r.Contradictions)
	}
}

// closing judges how a key stands in the end, when nothing is under way any more.
func (j *judge) closing(k key, r atmost.Record) {
	effects := j.w.bank.effects(k.id.Key)
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.story(k.id.Key)
	if r.State == atmost.Processing {
		j.complainLocked(k.id.Key, "I6: in the end attempt %d still is processing", r.Attempt)
	}
	if j.w.mayExpire(k.id.Key) {
		return // what there was is forgotten, as it may be
	}
	had := map[uint32]effect{}
	for _, e := range effects {
		had[e.attempt] = e
	}
	if len(effects) > 0 && r.State == atmost.Absent {
		j.complainLocked(k.id.Key, "I6: it had an effect, and nobody knows of it")
	}
	if r.Policy.OnUnknown == atmost.RetryUnknown {
		return // by its policy it may have run twice
	}
	for attempt := range had {
		if attempt < r.Attempt && !s.wrong[attempt] {
			j.complainLocked(k.id.Key, "I6: attempt %d had an effect, no operator said otherwise, and attempt %d began", attempt, r.Attempt)
		}
	}
	if _, ok := had[r.Attempt]; ok && r.State == atmost.NotExecuted && !s.wrong[r.Attempt] {
		j.complainLocked(k.id.Key, "I6: attempt %d had an effect, and is told not to have been executed", r.Attempt)
	}
	if e, ok := had[r.Attempt]; ok && r.State == atmost.Completed && r.NotKept == 0 && string(r.Result) != e.result {
		j.complainLocked(k.id.Key, "I5: attempt %d had the result %s, and is told as %s", r.Attempt, e.result, r.Result)
	}
	if s.exposed > 0 && r.Contradictions == 0 {
		j.complainLocked(k.id.Key, "I6: it had %d contradicting reports, and does not tell", s.exposed)
	}
}
