package pgtest

import (
	"os"
	"path/filepath"

	"github.com/atmost-dev/atmost/internal/debian"
)

// install installs a package of Debian's where that is possible, without starting a service.
func install(name string) error {
	return debian.Install(noSystemCluster, name)
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
