// Package atmosthttp makes the handlers of a Go service at-most-once by the Idempotency-Key header, as the IETF's draft for it
// demands (draft-ietf-httpapi-idempotency-key-header), and lets HTTP clients retry safely.
//
// # Middleware
//
// New wraps a handler. The first request with a key runs it, and what it answers is stored: the status, the body, and those headers
// that are listed. Every later request with that key gets the same bytes, and the handler does not run. What a status means is
// written down at atmost.Statuses: 2xx, 3xx and most of 4xx are kept and replayed, of 5xx nobody knows whether the handler had its
// effect. The first caller gets the handler's own answer whatever it is, unless somebody settled the attempt otherwise meanwhile; only later
// ones are told that the outcome is unknown.
//
// The keys are held by an atmost.Claimer: an engine in the same process, or a client of a service elsewhere. A lease is renewed
// while the handler runs. So the process may die at any point, and another answers the key with what is known.
//
// All that the middleware itself has to say is application/problem+json (RFC 9457). ProblemType names what each is.
//
// # Transport
//
// Transport is for clients: it retries requests to servers that hold to the draft.
package atmosthttp
