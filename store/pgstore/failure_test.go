package pgstore

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atmost-dev/atmost"
)

func TestFate(t *testing.T) {
	refused := func(code string) error { return &pgconn.PgError{Code: code} }
	for name, c := range map[string]struct {
		err  error
		want fate
	}{
		"none":                             {nil, succeeded},
		"conflict":                         {refused(serialization), again},
		"locked":                           {refused(lockNotAvailable), held},
		"wrong":                            {refused("42601"), undone},
		"ended by the administrator":       {refused(adminShutdown), ambiguous},
		"connection lost":                  {io.ErrUnexpectedEOF, ambiguous},
		"warned":                           {fmt.Errorf("%w: x", atmost.ErrAmbiguous), ambiguous},
		"starting up, said to a statement": {refused(cannotConnectNow), ambiguous},
		"starting up, said at connecting":  {fmt.Errorf("%w: %w", errNotSent, refused(cannotConnectNow)), undone},
		"no connection":                    {fmt.Errorf("%w: %w", errNotSent, errors.New("refused")), undone},
		"no time":                          {errTimeout, undone},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
