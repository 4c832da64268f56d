package server

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// AdminOpenAPI is the OpenAPI 3.1 document of the admin API.
//
//go:embed openapi-admin.yaml
var AdminOpenAPI []byte

// Check is one thing that must be so for an instance to be ready. Its error is shown to whoever asks with ?verbose.
type Check struct {
	Name  string
	Ready func(context.Context) error
	// Informs tells that the instance is ready whatever comes of the check, which is only made for who sees it.
	Informs bool
}

// checkTimeout bounds all checks of one request.
const checkTimeout = 2 * time.Second

// Health returns the handler for orchestrators and scrapers: /livez, which depends on nothing, /readyz, which is 200 when
// every check passes, and /metrics.
func Health(log *slog.Logger, metrics http.Handler, checks ...Check) http.Handler {
	return routes(log, healthRoutes(metrics, checks))
}

// AdminOptions configures what operators are served. Zero values mean the defaults named.
type AdminOptions struct {
	// MaxBody bounds a request's body, in bytes. Default DefaultMaxBody.
	MaxBody int64
	// Log is told of backups that operators have made, and the causes of unexpected errors. Default: nobody is.
	Log *slog.Logger
	// Metrics answers /metrics.
	Metrics http.Handler
	// Console answers what is under /console/, and is asked for it without that, but for the slash. Default: nothing is there.
	Console http.Handler
	// Checks are those of /readyz.
	Checks []Check
	// Version and Store, its kind, are told to whoever asks for an overview.
	Version, Store string
	// Backup makes a backup of the store, which has in its audit trail by whom, and returns the directory that it is in. Default: there is
	// nowhere to make one.
	Backup func(ctx context.Context, by atmost.Actor) (string, error)
}

// Admin returns the handler for operators: what Health has, /debug/pprof/, the console, and the admin API under /admin/v1/. Nobody is asked who
// they are, so it is not for the network at large; requests that a browser sends for another site's page change nothing, and on an
// address that only this machine can reach they see nothing either.
func Admin(engine *atmost.Engine, o AdminOptions) http.Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	handlers := healthRoutes(o.Metrics, o.Checks)
	handlers["GET /debug/pprof/"] = pprof.Index
	handlers["GET /debug/pprof/cmdline"] = pprof.Cmdline
	handlers["GET /debug/pprof/profile"] = pprof.Profile
	handlers["GET /debug/pprof/symbol"] = pprof.Symbol
	handlers["POST /debug/pprof/symbol"] = pprof.Symbol
	handlers["GET /debug/pprof/trace"] = pprof.Trace
	if o.Console != nil {
		handlers["GET /console/"] = http.StripPrefix("/console", o.Console).ServeHTTP
		handlers["GET /console"] = toConsole
	}
	a := &admin{api: api{engine: engine, maxBody: o.MaxBody}, log: o.Log, version: o.Version, store: o.Store, makeBackup: o.Backup}
	a.routes(handlers)
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeRefusal(w, &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the request was sent by a page of another site"})
	}))
	return dress(o.Log, ownHost(protection.Handler(dispatch(handlers))))
}

// toConsole leads to the console. The address is relative, so that a proxy may have put any path before it.
func toConsole(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "console/")
	write(w, http.StatusTemporaryRedirect, nil)
}

func healthRoutes(metrics http.Handler, checks []Check) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /livez": func(w http.ResponseWriter, _ *http.Request) {
			writeText(w, http.StatusOK, "ok\n")
		},
		"GET /readyz": func(w http.ResponseWriter, r *http.Request) {
			ready(w, r, checks)
		},
		"GET /metrics": metrics.ServeHTTP,
	}
}

func ready(w http.ResponseWriter, r *http.Request, checks []Check) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	status, verdict, verbose := http.StatusOK, "ready\n", r.URL.Query().Has("verbose")
	var report strings.Builder
	for _, c := range checks {
		if c.Informs && !verbose {
			continue
		}
		err := c.Ready(ctx)
		switch {
		case err == nil:
			report.WriteString("[+] " + c.Name + ": ok\n")
		case c.Informs:
			report.WriteString("[!] " + c.Name + ": " + err.Error() + "\n")
		default:
			status, verdict = http.StatusServiceUnavailable, "not ready\n"
			report.WriteString("[-] " + c.Name + ": " + err.Error() + "\n")
		}
	}
	if verbose {
		verdict = report.String() + verdict
	}
	writeText(w, status, verdict)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, status, []byte(text))
}
