package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// adminFlags are how a command reaches the admin API of a running service.
type adminFlags struct {
	process       process
	address       string
	ca, cert, key string
}

// addAdminFlags gives commands the flags.
func addAdminFlags(flags *pflag.FlagSet, p process) *adminFlags {
	a := &adminFlags{process: p}
	flags.StringVar(&a.address, "admin", "", fmt.Sprintf("where the service's admin listener is, host:port or a URL (environment %s, default %q)",
		envName("admin"), defaultConfig().Admin))
	flags.StringVar(&a.ca, "admin-ca", "", "file with the authorities that may have signed the listener's certificate (default: the system's)")
	flags.StringVar(&a.cert, "admin-cert", "", "file with the certificate to show to the listener")
	flags.StringVar(&a.key, "admin-key", "", "file with its key")
	return a
}

// api is what the flags say.
func (a *adminFlags) api() (*adminAPI, error) {
	set, _ := a.process.env(envName("admin"))
	switch {
	case a.cert != "" && a.key == "":
		return nil, problems{{path: "--admin-cert", text: "it is a certificate without its key; name that with --admin-key, the same file if both are in one"}}
	case a.cert == "" && a.key != "":
		return nil, problems{{path: "--admin-key", text: "it is a key without its certificate; name that with --admin-cert"}}
	}
	base, err := adminURL(cmp.Or(a.address, set, defaultConfig().Admin), a.ca != "" || a.cert != "")
	if err != nil {
		return nil, problems{{path: "--admin", text: err.Error()}}
	}
	if strings.HasPrefix(base, "http://") && (a.ca != "" || a.cert != "") {
		return nil, problems{{path: "--admin", text: shownURL(base) + " is without TLS, and so needs no certificates; did you mean https://?"}}
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if err == nil && !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			err = errors.New("there is no certificate in it")
		}
		if err != nil {
			return nil, problems{{path: "--admin-ca", text: err.Error()}}
		}
	}
	if a.cert != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, problems{{path: "--admin-cert", text: err.Error()}}
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &adminAPI{base: base, shown: shownURL(base), client: &http.Client{
		Transport: t, Timeout: adminTimeout,
		// The page that a proxy sends strangers to is no answer, and a change is not to be sent elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// adminTimeout bounds one request. A part of a bulk change takes ten seconds at most.
const adminTimeout = 30 * time.Second

// adminURL is what address means: with a path, if the API is behind a proxy that has it below one.
func adminURL(address string, secure bool) (string, error) {
	if !strings.Contains(address, "://") {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", fmt.Errorf("%q is neither host:port nor a URL", address)
		}
		scheme := "http"
		if secure {
			scheme = "https"
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() { // as it is said to a listener
			host = "127.0.0.1"
		}
		address = scheme + "://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is neither host:port nor a URL", shownURL(address))
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// shownURL is a URL without its password.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "…"
	}
	return u.Redacted()
}

// adminAPI is the admin API of a running service.
type adminAPI struct {
	base   string
	shown  string // the same, for people to see
	client *http.Client
}

// unreachableError says that the service gave no answer that is one.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// get asks for path, and decodes the answer into body.
func (a *adminAPI) get(ctx context.Context, path string, query url.Values, body any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return a.do(ctx, http.MethodGet, path, nil, body)
}

// post sends a request of package wire, and decodes the answer into body.
func (a *adminAPI) post(ctx context.Context, path string, request, body any) error {
	var text []byte
	switch r := request.(type) {
	case wire.AdminResolve:
		text = wire.AppendAdminResolve(nil, r)
	case wire.AdminBulk:
		text = wire.AppendAdminBulk(nil, r)
	default:
		text = wire.AppendAdmin(nil, r)
	}
	return a.do(ctx, http.MethodPost, path, text, body)
}

func (a *adminAPI) do(ctx context.Context, method, path string, request []byte, body any) error {
	answer, err := a.ask(ctx, method, path, request)
	if err != nil {
		return err
	}
	return a.decode(answer, body)
}

// decode decodes a successful answer into body.
func (a *adminAPI) decode(answer []byte, body any) error {
	err := json.Unmarshal(answer, body)
	if err == nil && !answers(body) {
		err = errors.New("it does not tell what was asked for")
	}
	if err != nil {
		return unreachableError{fmt.Errorf("%s: the answer is none of this API: %w", a.shown, err)}
	}
	return nil
}

// answers reports whether an answer has what such a one never lacks: any JSON object would do otherwise.
func answers(body any) bool {
	switch b := body.(type) {
	case *wire.AdminRecord:
		return b.ID != "" && b.State != ""
	case *wire.AdminKeys:
		return b.Keys != nil
	case *wire.AdminAudit:
		return b.Entries != nil
	case *wire.AdminForgotten:
		return b.State == atmost.Absent.String()
	case *wire.AdminBackedUp:
		return b.Directory != ""
	case *wire.AdminOverview:
		return b.Operations != nil
	case *stillGuarded:
		return b.Guarded != nil
	}
	return true
}

// stillGuarded is wire.AdminGuarded of which it is known whether it was said.
type stillGuarded struct {
	Guarded *bool `json:"guarded"`
}

// ask returns the body of a successful answer.
func (a *adminAPI) ask(ctx context.Context, method, path string, request []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	if request != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(r)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL names a key
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachableError{fmt.Errorf("no answer from the admin listener %s: %w; %s", a.shown, err, a.remedy(err))}
	}
	defer resp.Body.Close() //nolint:errcheck // it has been read
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, unreachableError{fmt.Errorf("%s: the answer was cut off: %w", a.shown, err)}
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	if bytes.Contains(answer, []byte("Client sent an HTTP request to an HTTPS server")) { // as net/http says
		return nil, unreachableError{fmt.Errorf("%s speaks TLS: say --admin %s", a.shown, strings.Replace(a.shown, "http:", "https:", 1))}
	}
	var refused struct {
		Error struct {
			Code    atmost.Code `json:"code"`
			Message string      `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &refused) != nil || refused.Error.Code == "" || refused.Error.Code == "NOT_FOUND" { // as the public listener says
		return nil, unreachableError{fmt.Errorf("%s answered %s: it is not this service's admin listener", a.shown, resp.Status)}
	}
	return nil, &atmost.Error{Code: refused.Error.Code, Message: refused.Error.Message}
}

// remedy says what to do about an error in place of an answer.
func (a *adminAPI) remedy(err error) string {
	var stranger x509.UnknownAuthorityError
	switch text := err.Error(); {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks no TLS: say --admin " + strings.Replace(a.shown, "https:", "http:", 1)
	case errors.As(err, &stranger):
		return "name who signed its certificate with --admin-ca"
	case strings.Contains(text, "remote error: tls: certificate required"), strings.Contains(text, "remote error: tls: bad certificate"):
		return "it wants a certificate of yours: --admin-cert and --admin-key"
	}
	return "is the service running there? (--admin, environment " + envName("admin") + ")"
}

// pathOf is where the record of id is.
func pathOf(id atmost.ID, action string) string {
	path := "/admin/v1/keys/" + wire.AdminID(id)
	if action != "" {
		path += "/" + action
	}
	return path
}

// paged calls f for what a path lists, page after page, until it has enough. items returns what is on a page, and where the next begins.
func paged[Page, Item any](
	ctx context.Context, a *adminAPI, path string, q url.Values, items func(Page) ([]Item, string), f func(Item) (more bool, err error),
) error {
	for {
		var page Page
		if err := a.get(ctx, path, q, &page); err != nil {
			return err
		}
		all, next := items(page)
		for _, item := range all {
			if more, err := f(item); !more || err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		q.Set("cursor", next)
	}
}
