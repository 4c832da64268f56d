package atmost

import "github.com/atmost-dev/atmost/fingerprint"

// A mismatch is explained by what the record keeps of the payload's parts, which are short digests under a secret of the store. They
// are made where an attempt begins, and read where a payload is another, so requests that are answered from a record pay nothing.

// paths is what is kept of the payload, or of the document that it stands for.
func (c *claiming) paths() []byte {
	form := c.form
	if c.call.Document != nil {
		form = fingerprint.Canonicalize(c.call.Document)
	}
	return c.engine.paths.Of(c.call.ID.Scope, c.call.ID.Key, form)
}

// document is what a mismatch is explained by.
func (c *Call) document() []byte {
	if c.Document != nil {
		return c.Document
	}
	return c.Payload
}

// explained returns err, which is what call is answered from r, with where the payload is not what it was, if it is not and r tells.
func (e *Engine) explained(err error, call *Call, r *Record) error {
	if err == nil || e.paths == nil || CodeOf(err) != CodePayloadMismatch {
		return err
	}
	told := *refusalOf(err)
	told.Differs = e.paths.Differ(r.Paths, call.ID.Scope, call.ID.Key, fingerprint.Canonicalize(call.document()))
	return &told
}
