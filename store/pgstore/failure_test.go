package pgstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atmost-dev/atmost"
)

// What operators are shown tells the cause, and never where the database is or who uses it.
func TestCause(t *testing.T) {
	refused := func(code string) error { return &pgconn.PgError{Code: code, Message: `user "svc" at 10.1.2.3`} }
	for want, err := range map[string]error{
		"": nil,
		"the server is in recovery: a standby, or not yet promoted": (&Store{}).reliable(server{recovering: true}),
		string(errCopy): fmt.Errorf("%w (server and database are %s)", errCopy, "7/svc"),
		"the database does not let the service in":                   refused("28P01"),
		"the server has no such database":                            refused(noDatabase),
		"the server takes no more connections":                       refused(tooManyConnections),
		"the server is starting or shutting down":                    refused(cannotConnectNow),
		"the database refuses what it is asked, with SQLSTATE 42P01": refused(undefinedTable),
		"the database's host is not found":                           &net.DNSError{Name: "db.svc"},
		"the database's certificate is not accepted":                 &tls.CertificateVerificationError{Err: errors.New("svc")},
		"nothing listens where the database should":                  &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"the database does not answer in time":                       context.DeadlineExceeded,
		"the database cannot be reached":                             io.ErrUnexpectedEOF,
	} {
		if err != nil {
			err = fmt.Errorf("pgstore: %w: at 10.1.2.3 as svc: %w", errNotSent, err)
		}
		if got := causeOf(err); got != want {
			t.Errorf("%v is told as %q, want %q", err, got, want)
		}
	}
}

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
