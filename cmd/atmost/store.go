package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

// openStore opens the store that the configuration names.
func openStore(c config, log *slog.Logger) (atmost.Store, error) {
	scheme, rest, _ := strings.Cut(c.Store, ":")
	switch scheme {
	case "memory":
		log.Warn("records are kept in memory: when this process ends they are forgotten, and their keys may run again")
		return memstore.New(memstore.Options{}), nil
	case "pebble":
		// Not returned as it is: a nil *pebblestore.Store is no nil atmost.Store.
		s, err := pebblestore.Open(rest, pebblestore.Options{
			Logger: log, CacheSize: c.PebbleCache, DiskReserve: uint64(c.PebbleDiskReserve),
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return nil, fmt.Errorf("the store %q is not known", c.Store)
}
