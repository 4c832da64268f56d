package pgstore

// WithNow returns o with an SQL expression in the place of the server's clock.
func WithNow(o Options, now string) Options {
	o.now, o.at = now, now
	return o
}
