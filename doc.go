// Package atmost executes an operation at most once for each idempotency key, and answers every request for it the same.
//
// # Model
//
// A client names one logical attempt at something with a key, and sends the key with every try. The service keeps one Record
// for each ID, a key in its scope. The first request claims the record: it becomes Processing, under a lease, and that is
// durable before anything is executed. Then an Executor makes one attempt and tells its Outcome:
//
//	Completed    it had its effect; the result is replayed
//	Failed       it was answered with an error that is final; the error is replayed
//	NotExecuted  it surely had no effect; the next request claims again, for another attempt
//	Unknown      it may have had its effect; nothing runs until that is settled
//
// What leads from which state to which is written down in one pure function, Transition. A Store applies it to its records,
// one atomic and durable step at a time. An Engine does the rest: it executes, lets duplicates wait, and recovers.
//
// A program that performs an operation itself has Once do so, over an Engine of its own or a service elsewhere.
//
// # What is promised
//
// For one ID, as long as its key is kept:
//
//   - An attempt starts only when every earlier one is known to have had no effect, or its operation's policy is RetryUnknown.
//   - Once an outcome was told, it is told for good, byte for byte, until its retention ends; then as an error.
//   - Nothing is told before it is durable.
//   - Another operation or payload under the same key is refused.
//   - What nobody knows is told as Unknown, and settled by a late report, a probe or a person.
//
// What this cannot promise: a process that stands still between its last look at its lease and the network, an upstream
// that lies, a disk that loses what it synced. Attempt.Fence lets a target refuse what comes late.
package atmost
