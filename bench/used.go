package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc.
const clockTick = 10 * time.Millisecond

// usage is CPU time.
type usage struct{ own, database time.Duration }

// used is what a contender's process and the database's processes have used, connections that ended included.
func (s *setting) used(c contender) (u usage, err error) {
	postmaster := s.cluster.Pid()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, err
	}
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ") // the name before it may have anything in it
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue
		}
		switch {
		case file == fmt.Sprintf("/proc/%d/stat", c.pid):
			u.own += ticks(fields[11:13]) // its own, in user mode and in the kernel
		case file == fmt.Sprintf("/proc/%d/stat", postmaster):
			u.database += ticks(fields[11:15]) // and that of children that ended
		case fields[1] == strconv.Itoa(postmaster):
			u.database += ticks(fields[11:13])
		}
	}
	return u, nil
}

func ticks(fields []string) (d time.Duration) {
	for _, f := range fields {
		n, _ := strconv.ParseInt(f, 10, 64) // the kernel writes numbers
		d += time.Duration(n) * clockTick
	}
	return d
}
