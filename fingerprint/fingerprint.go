// Package fingerprint makes versioned digests of what a request asks for, so that the same key with a changed request is
// recognised without keeping the request.
package fingerprint

import "crypto/sha256"

// Algorithm names a way to make a fingerprint. It is stored with each digest and never changes its meaning.
type Algorithm string

// Fingerprint is a digest and the algorithm that made it. Two requests are the same if and only if they have equal
// fingerprints of one algorithm. The zero Fingerprint belongs to no request.
type Fingerprint struct {
	Algorithm Algorithm
	Digest    [sha256.Size]byte
}
