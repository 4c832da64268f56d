package main

import (
	"os"
	"strings"

	"github.com/atmost-dev/atmost"
)

const simulateHelp = `A payload's member "simulate" makes the sample upstream misbehave:
  "drop_reply"  it has its effect, but closes the connection without an answer
  "decline"     it answers 402 and has no effect
  "slow"        it takes 3 seconds, time enough to send the same again
  "hang"        it has its effect and never answers; the service waits 10 seconds`

// guide prints what a newcomer can do.
func (d *dev) guide(service, admin string) {
	for _, address := range d.busy {
		d.say("%s is taken, so another port was chosen.", address)
	}
	d.say("%s", strings.NewReplacer("SERVICE", service, "ADMIN", admin, "TARGET", d.target, "DIR", d.dir, "PROGRAM", programName(os.Args[0]), "SIMULATE", simulateHelp).Replace(`
atmost is running at SERVICE, a sample upstream at TARGET.

Charge a card. Send this line twice: the answer is the same, the card is charged once.

  curl -si SERVICE/v1/idempotency/execute -H 'Idempotency-Key: order-1' -H 'Content-Type: application/json' -d '{"operation":"payment.charge","payload":{"amount":4200,"currency":"EUR"}}'

The same key with another payload is refused:

  curl -si SERVICE/v1/idempotency/execute -H 'Idempotency-Key: order-1' -H 'Content-Type: application/json' -d '{"operation":"payment.charge","payload":{"amount":9900,"currency":"EUR"}}'

Lose the upstream's reply. The answer is 409 OUTCOME_UNKNOWN; after a few seconds the service has asked the
upstream what happened, and the same line gets the result. The card is charged once.

  curl -si SERVICE/v1/idempotency/execute -H 'Idempotency-Key: order-2' -H 'Content-Type: application/json' -d '{"operation":"payment.charge","payload":{"amount":4200,"simulate":"drop_reply"}}'

There are two more operations, user.create and email.send.

SIMULATE

What really happened:    curl -s TARGET/ledger
What the service says:   curl -s SERVICE/v1/idempotency/status -H 'Idempotency-Key: order-1'
What a key went through: PROGRAM explain order-2 --admin ADMIN
All of it, to look at:   ADMIN/console/
Metrics:                 curl -s ADMIN/metrics
The configuration:       DIR/atmost.yaml

Ctrl-C ends it. Below, each effect and each answer is told.
`))
}

// programName is what to type for this program, which was started as path: go run builds one that is gone afterwards.
func programName(path string) string {
	if strings.Contains(path, "go-build") {
		return "go run ./cmd/atmost"
	}
	return path
}

// tell says in plain words what a request was answered.
func (d *dev) tell(a atmost.Answered) {
	operation := a.Operation
	if operation == "" {
		operation = "another operation"
	}
	switch a.Answer {
	case "executed":
		d.say("  answer    %s: executed, and the result is stored", operation)
	case "replayed":
		d.say("  replay    %s: answered from the record with the same bytes; nothing was executed", operation)
	case "processing":
		d.say("  answer    %s: still being executed for this key; nothing was started", operation)
	case string(atmost.CodeOutcomeUnknown):
		d.say("  unknown   %s: it may or may not have happened, so it is not executed again", operation)
	case string(atmost.CodePayloadMismatch), string(atmost.CodeOperationMismatch):
		d.say("  refused   %s: the key is in use for something else; nothing was executed", operation)
	default:
		d.say("  answer    %s: %s", operation, a.Answer)
	}
}
