package pgtest

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

// install installs a package of Debian's where that is possible, without starting a service.
func install(name string) error {
	if _, err := os.Stat("/etc/debian_version"); err != nil || os.Getuid() != 0 {
		return errors.New("this is not Debian, or not its root")
	}
	installing.Lock()
	defer installing.Unlock()
	lock, err := os.Create(filepath.Join(os.TempDir(), "atmost-pgtest-install.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if err := noSystemCluster(); err != nil {
		return err
	}
	if err := apt("install", "-y", "--no-install-recommends", name); err == nil {
		return nil
	}
	return errors.Join(apt("update"), apt("install", "-y", "--no-install-recommends", name))
}

// noSystemCluster keeps the package postgresql from creating and starting a cluster of its own.
func noSystemCluster() error {
	const conf = "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(conf); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		return err
	}
	return os.WriteFile(conf, []byte("create_main_cluster = false\n"), 0o644)
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
