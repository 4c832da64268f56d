package pgstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atmost-dev/atmost"
)

// The codes of PostgreSQL's errors that are told apart.
const (
	undefinedTable     = "42P01"
	undefinedFunction  = "42883"
	undefinedSetting   = "42704"
	noPrivilege        = "42501"
	serialization      = "40001"
	deadlock           = "40P01"
	completionUnknown  = "40003"
	lockNotAvailable   = "55P03"
	adminShutdown      = "57P01"
	crashShutdown      = "57P02"
	cannotConnectNow   = "57P03"
	noPrepared         = "26000"
	planChanged        = "0A000"
	protocolViolation  = "08P01"
	connectionProblems = "08"
	diskFull           = "53100"
	plainWarning       = "01000"
	noDatabase         = "3D000"
	tooManyConnections = "53300"
	accessRefused      = "28"
)

// fate is what a statement's error says of the statement.
type fate int

const (
	// succeeded: there is no error.
	succeeded fate = iota
	// undone: it had no effect.
	undone
	// again: it had no effect, and may have one when it is repeated.
	again
	// held: it had no effect, as a row stayed locked by somebody else.
	held
	// ambiguous: it may have had its effect.
	ambiguous
)

// fateOf judges the error of a statement that commits by itself.
func fateOf(err error) fate {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return succeeded
	case errors.Is(err, atmost.ErrAmbiguous):
		return ambiguous
	case errors.Is(err, errNotSent): // also if the server said why
		return undone
	case errors.As(err, &refused):
		return fateOfCode(refused.Code)
	case pgconn.SafeToRetry(err), errors.Is(err, errCorrupt):
		return undone
	}
	return ambiguous
}

func fateOfCode(code string) fate {
	switch code {
	case serialization, deadlock, noPrepared, planChanged:
		return again
	case lockNotAvailable:
		return held
	case completionUnknown, adminShutdown, crashShutdown, cannotConnectNow:
		return ambiguous
	}
	if strings.HasPrefix(code, connectionProblems) {
		return ambiguous
	}
	return undone
}

// errNotSent is wrapped by the error of a statement that never left.
var errNotSent = errors.New("the database cannot be used at the moment")

// errTimeout is the error of a call whose time ended before anything was sent.
var errTimeout = fmt.Errorf("pgstore: %w: the time-out ended", errNotSent)

// failed makes a call's error of its statement's.
func failed(err error) error {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case fateOf(err) == ambiguous && !errors.Is(err, atmost.ErrAmbiguous):
		return fmt.Errorf("pgstore: %w: %w", atmost.ErrAmbiguous, err)
	case errors.As(err, &refused) && refused.Code == diskFull:
		return fmt.Errorf("pgstore: %w: %w", atmost.ErrFull, err)
	}
	return fmt.Errorf("pgstore: %w", err)
}

// lost reports whether err tells that a connection is gone, and others may be.
func lost(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		f := fateOfCode(refused.Code)
		return f == ambiguous
	}
	return err != nil && !errors.Is(err, errNotSent) && !errors.Is(err, errCorrupt)
}

// unfit is the error about a server that cannot be relied on. Its words tell neither where that is nor who uses it.
type unfit string

func (u unfit) Error() string { return string(u) }

// causeOf says in words why the database cannot be used, without what tells where it is or who uses it; "" if there is no error.
func causeOf(err error) string {
	own, refused := unfit(""), (*pgconn.PgError)(nil)
	host, certificate := (*net.DNSError)(nil), (*tls.CertificateVerificationError)(nil)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &own):
		return string(own)
	case errors.As(err, &refused):
		return refusal(refused.Code)
	case errors.As(err, &host):
		return "the database's host is not found"
	case errors.As(err, &certificate):
		return "the database's certificate is not accepted"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens where the database should"
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded):
		return "the database does not answer in time"
	}
	return "the database cannot be reached"
}

func refusal(code string) string {
	switch {
	case strings.HasPrefix(code, accessRefused):
		return "the database does not let the service in"
	case code == noDatabase:
		return "the server has no such database"
	case code == tooManyConnections:
		return "the server takes no more connections"
	case code == cannotConnectNow, code == adminShutdown:
		return "the server is starting or shutting down"
	}
	return "the database refuses what it is asked, with SQLSTATE " + code
}
