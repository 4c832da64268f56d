package sealed

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// Names make the digests that stand for keys: HMAC-SHA256 over scope and key. Who does not have their secret cannot find out a key from
// its digest, even by trying all that there can be, nor whether two scopes have one in common.
type Names struct{ key *key }

// NewNames returns the names of a key file with a single key. There is no rotation: with another secret no key would be found again.
func NewNames(k *Keys) (*Names, error) {
	if len(k.ids) != 1 {
		return nil, fmt.Errorf("there are %d keys in it; digests of keys have one, which cannot be replaced", len(k.ids))
	}
	return &Names{key: k.first}, nil
}

// namePrefix begins each digest.
const namePrefix = "keyed-"

// isName reports whether key has the form of a digest. No client's key may, so that a digest can be used by operators, who are shown
// no key, to name a record.
func isName(key string) bool {
	digits, ok := strings.CutPrefix(key, namePrefix)
	return ok && len(digits) == 2*sha256.Size && !strings.ContainsFunc(digits, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f')
	})
}

// isOwn reports whether key is the service's own, as no client's key has a space. It is of no account, and tells nothing.
func isOwn(key string) bool { return strings.Contains(key, " ") }

// stored is what id is stored as. Nil names store it as it is.
func (n *Names) stored(id atmost.ID) atmost.ID {
	if n == nil || isOwn(id.Key) {
		return id
	}
	mac := hmac.New(sha256.New, n.key.naming)
	mac.Write(binary.AppendUvarint(nil, uint64(len(id.Scope))))
	mac.Write([]byte(id.Scope + id.Key))
	return atmost.ID{Scope: id.Scope, Key: namePrefix + hex.EncodeToString(mac.Sum(nil))}
}

type byDigest struct{}

// ByDigest returns a context in which a record is also found by the digest of its key, as an operator names it who was shown no key.
// Without it a digest finds nothing: who has read digests, in a store or a backup of it, and can send requests as a client, gets no
// result for that.
func ByDigest(ctx context.Context) context.Context { return context.WithValue(ctx, byDigest{}, true) }

// looked is stored, but for a digest, which names its record.
func (n *Names) looked(id atmost.ID) atmost.ID {
	if n != nil && isName(id.Key) {
		return id
	}
	return n.stored(id)
}

// errProbe refuses what could not be kept to: a probe asks the upstream for the key, and all that is left of that is a digest, of which
// any upstream would truly say that it was never executed.
var errProbe = errors.New("sealed: operations that are probed cannot be used with digests of keys")

// probes reports whether event begins what is to be probed.
func probes(event atmost.Event) bool {
	c, ok := event.(*atmost.Claim)
	return ok && c.Policy.OnUnknown == atmost.ProbeUnknown
}

// addressed is what is stored of the record that event is for. Clients' events are not for a digest.
func (n *Names) addressed(id atmost.ID, event atmost.Event) (atmost.ID, error) {
	if id == marker {
		return id, &atmost.Error{Code: atmost.CodeInvalidKey, Message: "the idempotency key is the store's own"}
	}
	switch event.(type) {
	case *atmost.Claim, *atmost.Renew, *atmost.Finish:
		if n != nil && isName(id.Key) {
			return id, &atmost.Error{Code: atmost.CodeInvalidKey, Message: "the idempotency key has the form of a stored digest; use another"}
		}
		return n.stored(id), nil
	}
	return n.looked(id), nil
}

// asked is q as inner is asked.
func (n *Names) asked(q atmost.Query) (atmost.Query, error) {
	switch {
	case n == nil || q.Key == nil || isName(*q.Key):
		return q, nil
	case q.Scope == nil:
		return q, &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "keys are stored as digests of scope and key, so one is only found together with its scope"}
	}
	id := n.stored(atmost.ID{Scope: *q.Scope, Key: *q.Key})
	q.Key = &id.Key
	return q, nil
}

// The marker is a record that tells how the keys beside it are stored. No client's key has a space, and nothing but a claim decides
// what the marker's operation is: of two processes that differ, also when they come at the same moment, one is refused.
var (
	marker      = atmost.ID{Key: "how keys are stored"}
	markerToken = atmost.Token{15: 1} // whoever comes next can finish what another did not
)

const (
	plainNames  = "keys:plain"
	digestNames = "keys:digest:"
)

// way is how n stores keys, for the marker.
func (n *Names) way() string {
	if n == nil {
		return plainNames
	}
	mac := hmac.New(sha256.New, n.key.proof)
	return digestNames + hex.EncodeToString(mac.Sum(nil)[:8])
}

// ErrNames is wrapped by the error for a store whose keys are stored in another way.
var ErrNames = errors.New("the keys of this store are stored in another way: it would take keys that were executed for new ones")

func mixed(there, wanted string) error {
	switch {
	case wanted == plainNames:
		return fmt.Errorf("%w: it has digests, and keys are to be stored as they are; name the secret that it was begun with", ErrNames)
	case there == plainNames:
		return fmt.Errorf("%w: it has keys as they are, and digests are to be stored; begin with an empty store", ErrNames)
	}
	return fmt.Errorf("%w: its digests are made with another secret", ErrNames)
}

// agree makes sure, once and for all, that the keys of inner are stored as s stores them, and writes that down if nothing is
// stored yet.
func (s *store) agree(ctx context.Context) error {
	s.agreeing.Lock()
	defer s.agreeing.Unlock()
	if s.agreed.Load() {
		return nil
	}
	way := s.names.way()
	if err := s.begun(ctx, way); err != nil {
		return err
	}
	step, err := s.Store.Apply(ctx, marker, &atmost.Claim{
		Operation: way, Token: markerToken, Lease: time.Minute,
		Policy: atmost.Policy{ExecutedBy: atmost.ByClient, ResultRetention: atmost.MaxRetention, KeyRetention: atmost.MaxRetention},
	})
	if err == nil && !step.Record.State.Final() {
		step, err = s.Store.Apply(ctx, marker, &atmost.Finish{Token: markerToken, Outcome: atmost.Outcome{State: atmost.Completed, Result: []byte("null")}})
	}
	switch code := atmost.CodeOf(err); {
	case code == atmost.CodeOperationMismatch:
		return mixed(step.Record.Operation, way)
	case err != nil:
		return fmt.Errorf("sealed: it is not known how the keys of this store are stored: %w", err)
	}
	s.agreed.Store(true)
	return nil
}

// mayClaim refuses a claim of stored before it is settled how the keys beside it are stored. A store that takes no marker, as it is
// guarded or full, may yet take a key: of a scope that was admitted by itself, or when there is room again a moment later. So then only
// what is there already is claimed, which tells by itself that it is in the right place.
func (s *store) mayClaim(ctx context.Context, stored atmost.ID) error {
	if s.agreed.Load() {
		return nil
	}
	err := s.agree(ctx)
	if err == nil || !refusesNew(err) {
		return err
	}
	r, failed := s.Store.Lookup(ctx, stored)
	if failed != nil {
		return failed
	}
	if r.State == atmost.Absent {
		return err
	}
	return nil
}

// begun refuses digests for a store that has records and no marker: they are of a time before there were markers.
func (s *store) begun(ctx context.Context, way string) error {
	if way == plainNames {
		return nil
	}
	if r, err := s.Store.Lookup(ctx, marker); err == nil && r.State != atmost.Absent {
		return nil
	}
	for q := (atmost.Query{Limit: 100}); ; {
		page, err := s.Store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if !isOwn(r.ID.Key) {
				return mixed(plainNames, way)
			}
		}
		if !page.More {
			return nil
		}
		q.After = page.Next
	}
}

// refusesNew reports whether err is a store's for every new key: that it is guarded, or full. Then nothing can begin in it in any way.
func refusesNew(err error) bool {
	return atmost.CodeOf(err) == atmost.CodeOutcomeUnknown || errors.Is(err, atmost.ErrFull)
}
