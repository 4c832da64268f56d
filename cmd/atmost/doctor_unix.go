//go:build unix

package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileLimit looks whether the process may have as many connections as its listeners take.
func (d *doctor) fileLimit(c config) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		d.add(warn, "open files", err.Error(), "")
		return
	}
	most := uint64(limit.Max) //nolint:unconvert // it is signed on some systems
	found := fmt.Sprintf("the process may have %d", most)
	if most < uint64(c.MaxConnections)+1000 {
		d.add(warn, "open files", found+fmt.Sprintf("; each listener takes %d connections (max_connections)", c.MaxConnections), "raise the limit (ulimit -Hn, LimitNOFILE=), or lower max_connections")
		return
	}
	d.add(fine, "open files", found, "")
}

// otherOwner returns the account that something in dir belongs to, if that is not uid.
func otherOwner(dir string, uid int) (owner string, other bool) {
	entries, _ := os.ReadDir(dir) // who cannot read it cannot open it either
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it is gone
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != uid {
			return strconv.FormatUint(uint64(s.Uid), 10), true
		}
	}
	return "", false
}
