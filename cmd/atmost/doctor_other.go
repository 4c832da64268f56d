//go:build !unix

package main

// fileLimit has nothing to look at.
func (d *doctor) fileLimit(config) {}
