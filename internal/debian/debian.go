// Package debian installs what tests need, on a Debian that is theirs to change.
package debian

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

var installing sync.Mutex

// Install installs packages of Debian's, without starting a service, where this is Debian and its root asks. One process does at a
// time, and before is called, if it is not nil, when it is this one's turn.
func Install(before func() error, packages ...string) error {
	if _, err := os.Stat("/etc/debian_version"); err != nil || os.Getuid() != 0 {
		return errors.New("this is not Debian, or not its root")
	}
	installing.Lock()
	defer installing.Unlock()
	lock, err := os.Create(filepath.Join(os.TempDir(), "atmost-install.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if err := apt(install...); err == nil {
		return nil
	}
	return errors.Join(apt("update"), apt(install...))
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1") // invoke-rc.d starts nothing in run level 1
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, out[max(0, len(out)-500):])
	}
	return nil
}
