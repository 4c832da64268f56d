package wire

import (
	"encoding/hex"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
)

var (
	leaseMember = member{"lease", "how long it is to last, 30s for example"}
	tokenMember = member{"lease_token", "the token of the lease"}

	claimBody = newObject("the body", executeBody.members[0], executeBody.members[1], leaseMember, member{name: tokenMember.name})
	renewBody = newObject("the body", tokenMember, leaseMember)
	doneBody  = newObject("the body", tokenMember, member{"result", "any JSON value, null for none"})
	failBody  = newObject("the body", tokenMember,
		member{"error", "an object with the members code and message"}, member{"executed", "yes, no or unknown"})
	errorObject = newObject("the member error", member{"code", "a word for programs"}, member{"message", "words for people, maybe none"})
)

// ParseClaim reads the body of a request to claim: the members of one to execute, as ParseExecute reads them; lease, a duration as
// in "30s"; and maybe lease_token. All that is read of it stands in the call that is returned, whose payload is a part of body.
// The limits of a lease are the engine's to check.
func ParseClaim(body []byte) (call atmost.ClaimCall, err error) {
	var v values
	if err := claimBody.read(body, v[:]); err != nil {
		return atmost.ClaimCall{}, err
	}
	if call.Operation, call.Payload, err = operationAndPayload(&v); err != nil {
		return atmost.ClaimCall{}, err
	}
	if call.Lease, err = duration(v[2]); err != nil {
		return atmost.ClaimCall{}, err
	}
	if v[3] != nil {
		if call.Token, err = token(v[3]); err != nil {
			return atmost.ClaimCall{}, err
		}
	}
	return call, nil
}

// ParseRenew reads the body of a request to renew: exactly the members lease_token and lease.
func ParseRenew(body []byte) (t atmost.Token, lease time.Duration, err error) {
	var v values
	if err := renewBody.read(body, v[:]); err != nil {
		return t, 0, err
	}
	if lease, err = duration(v[1]); err != nil {
		return t, 0, err
	}
	if t, err = token(v[0]); err != nil {
		return t, 0, err
	}
	return t, lease, nil
}

// ParseComplete reads the body of a report of success: exactly the members lease_token and result, any JSON value, of which a part
// of body is returned, exactly as sent.
func ParseComplete(body []byte) (t atmost.Token, result []byte, err error) {
	var v values
	if err := doneBody.read(body, v[:]); err != nil {
		return t, nil, err
	}
	if t, err = token(v[0]); err != nil {
		return t, nil, err
	}
	return t, v[1], nil
}

// ParseFail reads the body of a report of failure: exactly the members lease_token; error, an object of the strings code and
// message; and executed, a string. What these may be is the engine's to check.
func ParseFail(body []byte) (t atmost.Token, f atmost.Failure, err error) {
	var v, inner values
	if err := failBody.read(body, v[:]); err != nil {
		return t, f, err
	}
	if err := errorObject.read(v[1], inner[:]); err != nil {
		return t, f, err
	}
	for _, s := range []struct {
		name  string
		value []byte
		into  *string
	}{
		{"code", inner[0], &f.Code},
		{"message", inner[1], &f.Message},
		{"executed", v[2], (*string)(&f.Executed)},
	} {
		var ok bool
		if *s.into, ok = text(s.value); !ok {
			return t, atmost.Failure{}, invalid("the member %s is not a string", s.name)
		}
	}
	if t, err = token(v[0]); err != nil {
		return t, atmost.Failure{}, err
	}
	return t, f, nil
}

// text reads a JSON string.
func text(value []byte) (string, bool) {
	if value[0] != '"' {
		return "", false
	}
	s, _ := jsontext.AppendUnquote(nil, value)
	return string(s), true
}

var durationRule = regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms))+$`)

// ParseDuration reads numbers with the units h, m, s and ms: "1m30s" for example. The error is an *atmost.Error.
func ParseDuration(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil && durationRule.MatchString(s) {
		return d, nil
	}
	return 0, invalid(`this is not a duration; write numbers and their units, "30s" or "1m30s" for example`)
}

// duration reads the member lease.
func duration(value []byte) (time.Duration, error) {
	if s, ok := text(value); ok {
		if d, err := ParseDuration(s); err == nil {
			return d, nil
		}
	}
	return 0, invalid(`the member lease is not a duration; write a string of a number and its unit, "30s" or "1m30s" for example`)
}

// token reads the member lease_token: 32 lower-case hexadecimal digits, not all zero.
func token(value []byte) (t atmost.Token, err error) {
	s, _ := text(value)
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(t) && hex.EncodeToString(b) == s && atmost.Token(b) != t {
		return atmost.Token(b), nil
	}
	return t, invalid("the member lease_token is not a token: 32 lower-case hexadecimal digits, of 128 random bits")
}

// AppendToken appends a token as it is written in bodies.
func AppendToken(dst []byte, t atmost.Token) []byte { return hex.AppendEncode(dst, t[:]) }

// AppendClaimed appends the body of the answer to a claim that won.
func AppendClaimed(dst []byte, l atmost.Lease) []byte {
	dst = append(dst, `{"status":"claimed","lease":{"token":"`...)
	dst = AppendToken(dst, l.Token)
	dst = append(dst, `","attempt":`...)
	dst = strconv.AppendUint(dst, uint64(l.Attempt), 10)
	dst = append(dst, `,"fence":`...)
	dst = strconv.AppendInt(dst, l.Fence, 10)
	dst = append(dst, `,"expires_in":`...)
	dst = appendSeconds(dst, l.ExpiresIn)
	return append(dst, `}}`...)
}

// AppendRenewed appends the body of the answer to a renewal.
func AppendRenewed(dst []byte, l atmost.Lease) []byte {
	dst = append(dst, `{"status":"processing","expires_in":`...)
	dst = appendSeconds(dst, l.ExpiresIn)
	return append(dst, '}')
}

// AppendFailed appends the body of the answer to a report of failure.
func AppendFailed(dst []byte, state atmost.State) []byte {
	dst = append(dst, `{"status":"`...)
	dst = append(dst, state.String()...)
	return append(dst, `"}`...)
}

// appendSeconds rounds down to milliseconds: a lease is never told to last longer than it does.
func appendSeconds(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, math.Floor(float64(d)/float64(time.Millisecond))/1000, 'f', -1, 64)
}
