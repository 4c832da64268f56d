//go:build !unix

package main

// fileLimit has nothing to look at.
func (d *doctor) fileLimit(config) {}

// otherOwner knows of no accounts.
func otherOwner(string, int) (owner string, other bool) { return "", false }
