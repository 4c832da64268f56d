package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// pair is a certificate and its key, in PEM.
type pair struct{ cert, key []byte }

var serial atomic.Int64

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, a.cert = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)})
	return a
}

// sign makes a certificate of what is special in template.
func (a *authority) sign(template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	n := serial.Add(1)
	template.SerialNumber, template.Subject = big.NewInt(n), pkix.Name{CommonName: fmt.Sprint("test ", n)}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-2 * time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

// issue makes a certificate for this machine, and for a client, that ends after so long.
func (a *authority) issue(lasts time.Duration) pair {
	a.t.Helper()
	return a.issued(time.Time{}, time.Now().Add(lasts))
}

// issued is issue, of one that is valid between two times.
func (a *authority) issued(from, to time.Time) pair {
	a.t.Helper()
	key, cert := a.sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair{toPEM("CERTIFICATE", cert.Raw), toPEM("PRIVATE KEY", der)}
}

func (a *authority) pem() []byte { return toPEM("CERTIFICATE", a.cert.Raw) }

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// certificateFiles are the files of a listener, in a directory of their own.
type certificateFiles struct {
	t *testing.T
	tlsFiles
}

func newCertificateFiles(t *testing.T, p pair, clientCA []byte) certificateFiles {
	t.Helper()
	dir := t.TempDir()
	f := certificateFiles{t, tlsFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}}
	f.replace(p)
	if clientCA != nil {
		f.ClientCA = filepath.Join(dir, "ca.pem")
		f.write(f.ClientCA, clientCA)
	}
	return f
}

func (f certificateFiles) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f certificateFiles) replace(p pair) {
	f.t.Helper()
	f.write(f.Cert, p.cert)
	f.write(f.Key, p.key)
}

// yaml is a section of the configuration.
func (f certificateFiles) yaml() string {
	s := fmt.Sprintf("{cert: '%s', key: '%s'", f.Cert, f.Key)
	if f.ClientCA != "" {
		s += ", client_ca: '" + f.ClientCA + "'"
	}
	return s + "}"
}

// visitor is a client that trusts authorities, and may have a certificate.
func visitor(t *testing.T, show *pair, trust ...*authority) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for _, a := range trust {
		c.RootCAs.AddCert(a.cert)
	}
	if show != nil {
		p, err := tls.X509KeyPair(show.cert, show.key)
		if err != nil {
			t.Fatal(err)
		}
		// Whatever the server says that it wants: a client that is up to no good would not mind.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p, nil }
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// visit makes a request on a connection of its own.
func visit(t *testing.T, client *http.Client, url string) (*http.Response, error) {
	t.Helper()
	client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, errors.Join(err, resp.Body.Close())
}

func (r *running) secure(listener, path string) string {
	return "https://" + r.address(listener).String() + path
}

// TestTLS: every listener speaks TLS, and HTTP/2, and nothing else, and lets in whom it is to.
func TestTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	good, expired, foreign := ours.issue(time.Hour), ours.issue(-time.Hour), others.issue(time.Hour)
	open := newCertificateFiles(t, ours.issue(time.Hour), nil)
	closed := newCertificateFiles(t, ours.issue(time.Hour), ours.pem())
	r := boot(t, "tls: "+closed.yaml()+"\nadmin_tls: "+closed.yaml()+"\nhealth_tls: "+open.yaml()+
		"\ngateway: {listen: '127.0.0.1:0', upstream: 'http://127.0.0.1:1', scope_header: none, tls: "+closed.yaml()+"}\n")
	for listener, path := range map[string]string{
		listenerPublic: "/openapi.yaml", listenerAdmin: "/livez", listenerHealth: "/livez", listenerGateway: "/",
	} {
		for _, c := range []struct {
			name string
			show *pair
			in   bool // where clients have to show a certificate
		}{{"none", nil, false}, {"good", &good, true}, {"expired", &expired, false}, {"another authority's", &foreign, false}} {
			resp, err := visit(t, visitor(t, c.show, ours), r.secure(listener, path))
			switch in := c.in || listener == listenerHealth; {
			case in && err != nil:
				t.Errorf("%s, certificate %s: %v", listener, c.name, err)
			case !in && err == nil:
				t.Errorf("%s, certificate %s: let in", listener, c.name)
			case in && (resp.ProtoMajor != 2 || resp.StatusCode != 200 && listener != listenerGateway):
				t.Errorf("%s: %s %s", listener, resp.Proto, resp.Status)
			}
		}
		if _, err := visit(t, visitor(t, &good, others), r.secure(listener, path)); err == nil {
			t.Errorf("%s has a certificate of another authority", listener)
		}
		old := visitor(t, &good, ours).Transport.(*http.Transport).TLSClientConfig
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if conn, err := tls.Dial("tcp", r.address(listener).String(), old); err == nil {
			t.Errorf("%s speaks TLS 1.1", listener)
			_ = conn.Close()
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := visitor(t, &good, ours)
			client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = version
			if resp, err := visit(t, client, r.secure(listener, path)); err != nil || resp.TLS.Version != version {
				t.Errorf("%s, version %x: %v", listener, version, err)
			}
		}
		if resp, err := visit(t, r.client, "http://"+r.address(listener).String()+path); err == nil && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s without TLS: %s", listener, resp.Status)
		}
	}
	for _, want := range []string{
		`"listener":"admin","address":"` + r.address(listenerAdmin).String() + `","tls":"client certificates"`,
		`"listener":"health","address":"` + r.address(listenerHealth).String() + `","tls":"on"`,
	} {
		if !strings.Contains(r.log.text(), want) {
			t.Errorf("the log does not have %s", want)
		}
	}
}

// TestAdminTLS: a command shows its certificate, and says what is missing where it has none, or speaks TLS to who does not.
func TestAdminTLS(t *testing.T) {
	plain := newDesk(t)
	ours := newAuthority(t)
	listener := newCertificateFiles(t, ours.issue(time.Hour), ours.pem())
	mine := newCertificateFiles(t, ours.issue(time.Hour), nil)
	both := filepath.Join(t.TempDir(), "both.pem")
	cert, err := os.ReadFile(mine.Cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(mine.Key)
	if err != nil {
		t.Fatal(err)
	}
	mine.write(both, append(cert, key...))
	shown, err := newCertificates("admin", listener.tlsFiles, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(server.Admin(plain.engine, server.AdminOptions{Metrics: http.NotFoundHandler()}))
	srv.TLS = shown.config()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	defer srv.Close()
	address := srv.Listener.Addr().String()
	for _, c := range []struct {
		admin string
		flags []string
		code  int
		says  string
	}{
		{address, []string{"--admin-ca", listener.ClientCA, "--admin-cert", mine.Cert, "--admin-key", mine.Key}, exitOK, "[]"},
		{address, []string{"--admin-ca", listener.ClientCA, "--admin-cert", both, "--admin-key", both}, exitOK, "[]"},
		{address, nil, exitAway, "speaks TLS: say --admin https://" + address + "\n"},
		{plain.url, nil, exitOK, "[]"},
		{strings.Replace(plain.url, "http:", "https:", 1), nil, exitAway, "it speaks no TLS: say --admin " + plain.url + "\n"},
		{"https://" + address, nil, exitAway, "name who signed its certificate with --admin-ca\n"},
		{address, []string{"--admin-ca", listener.ClientCA}, exitAway, "it wants a certificate of yours: --admin-cert and --admin-key\n"},
		{address, []string{"--admin-cert", mine.Cert}, exitUsage, "--admin-cert: it is a certificate without its key"},
		{address, []string{"--admin-key", mine.Key}, exitUsage, "--admin-key: it is a key without its certificate"},
		{address, []string{"--admin-cert", mine.Key, "--admin-key", mine.Cert}, exitUsage, "--admin-cert: "},
		{plain.url, []string{"--admin-ca", listener.ClientCA}, exitUsage, "did you mean https://?"},
	} {
		d := &desk{T: t, url: c.admin}
		if code, stdout, stderr := d.run("", false, append(c.flags, "keys", "list", "-o", "json")...); code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%s %v: exit code %d, %s%s; want %d, %s", c.admin, c.flags, code, stdout, stderr, c.code, c.says)
		}
	}
}

// TestTLSReload: certificates are replaced under load, and nobody's request fails. A pair that is broken leaves all as it was.
func TestTLSReload(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	files := newCertificateFiles(t, before.issue(time.Hour), nil)
	r := boot(t, "health_tls: "+files.yaml()+"\n")
	url := r.secure(listenerHealth, "/livez")
	by := func(a *authority) (serial string) {
		t.Helper()
		resp, err := visit(t, visitor(t, nil, a), url)
		if err != nil {
			t.Fatal(err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	requests := make(chan struct{}, 1)
	for range 4 {
		client := visitor(t, nil, before, after)
		load.Go(func() {
			for ctx.Err() == nil {
				if resp, err := visit(t, client, url); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("under load: %v", err)
				}
				select {
				case requests <- struct{}{}:
				default:
				}
			}
		})
	}
	first := by(before)
	for name, broken := range map[string]pair{
		"cut off":     {[]byte("-----BEGIN"), before.issue(time.Hour).key},
		"not its key": {after.issue(time.Hour).cert, before.issue(time.Hour).key},
		"empty":       {},
	} {
		files.replace(broken)
		r.signals <- syscall.SIGHUP
		r.signals <- syscall.SIGHUP
		r.log.wait(t, "the certificate was not replaced, the one before stays in use")
		if by(before) != first {
			t.Errorf("%s: replaced", name)
		}
	}
	if strings.Contains(r.log.text(), string(before.issue(time.Hour).key[30:60])) || strings.Contains(r.log.text(), "PRIVATE") {
		t.Error("the log has a key")
	}
	for range 5 {
		await(t, requests)
	}
	files.replace(after.issue(time.Hour))
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "the certificate was replaced")
	if by(after) == first {
		t.Error("not replaced")
	}
	for range 5 {
		await(t, requests)
	}
	stop()
	load.Wait()
	if !strings.Contains(r.log.text(), `"level":"ERROR","msg":"the certificate was not replaced`) {
		t.Error("no error was logged")
	}
}

// TestClientAuthorityReload: who was let in by an authority that was taken out is not let in again, by no session either.
func TestClientAuthorityReload(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	files := newCertificateFiles(t, ours.issue(time.Hour), ours.pem())
	r := boot(t, "health_tls: "+files.yaml()+"\n")
	url := r.secure(listenerHealth, "/livez")
	shown, foreign := ours.issue(time.Hour), others.issue(time.Hour)
	known, stranger := visitor(t, &shown, ours), visitor(t, &foreign, ours)
	for range 3 {
		if resp, err := visit(t, known, url); err != nil || resp.TLS.DidResume {
			t.Fatalf("%v", err)
		}
	}
	files.write(files.ClientCA, others.pem())
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "the certificate was replaced")
	if _, err := visit(t, known, url); err == nil {
		t.Error("let in by an authority that was taken out")
	}
	if _, err := visit(t, stranger, url); err != nil {
		t.Error(err)
	}
	files.write(files.ClientCA, []byte("nothing"))
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "the certificate was not replaced, the one before stays in use")
	if _, err := visit(t, known, url); err == nil {
		t.Error("let in after the authorities were lost")
	}
}

// TestCertificatesAreWatched: files that were replaced are noticed without a signal, and what is wrong with them is told once.
func TestCertificatesAreWatched(t *testing.T) {
	a := newAuthority(t)
	files := newCertificateFiles(t, a.issue(time.Hour), a.pem())
	next := a.issue(time.Hour)
	synctest.Test(t, func(t *testing.T) {
		log := newJournal()
		c, err := newCertificates("public", files.tlsFiles, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go watch(ctx, []*certificates{c})
		pass := func(want int, said string) {
			t.Helper()
			time.Sleep(3*certificateInterval + time.Second)
			synctest.Wait()
			if got := strings.Count(log.text(), said); got != want {
				t.Errorf("%q was said %d times, want %d; the log:\n%s", said, got, want, log.text())
			}
		}
		const replaced, kept = "the certificate was replaced", "the certificate was not replaced"
		before := c.current.Load()
		pass(0, replaced)
		files.replace(next)
		pass(1, replaced)
		if c.current.Load() == before {
			t.Error("not replaced")
		}
		files.write(files.Key, []byte("broken"))
		pass(1, kept)
		if err := os.Remove(files.ClientCA); err != nil {
			t.Error(err)
		}
		pass(2, kept)
		files.write(files.ClientCA, a.pem())
		files.write(files.Key, next.key)
		pass(2, kept)
		pass(2, replaced)
	})
}

// TestTLSFiles: what is wrong with them at the start ends it, and is told without what is in them.
func TestTLSFiles(t *testing.T) {
	a := newAuthority(t)
	p, other := a.issue(time.Hour), a.issue(time.Hour)
	files := newCertificateFiles(t, p, a.pem())
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")})
	for want, f := range map[string]func() tlsFiles{
		"the file /none.pem cannot be read: no such file": func() tlsFiles { return tlsFiles{Cert: "/none.pem", Key: files.Key} },
		"are no certificate and its key":                  func() tlsFiles { return newCertificateFiles(t, pair{p.cert, other.key}, nil).tlsFiles },
		"ca.pem: there is no certificate in it":           func() tlsFiles { return newCertificateFiles(t, p, []byte("none")).tlsFiles },
		"ca.pem: block 2 in it, a PRIVATE KEY, is not":    func() tlsFiles { return newCertificateFiles(t, p, slices.Concat(a.pem(), p.key)).tlsFiles },
		"ca.pem: block 1 in it, a CERTIFICATE, is not":    func() tlsFiles { return newCertificateFiles(t, p, slices.Concat(broken, a.pem())).tlsFiles },
		"ca.pem: block 2 in it is damaged":                func() tlsFiles { return newCertificateFiles(t, p, slices.Concat(a.pem(), a.pem()[:99])).tlsFiles },
	} {
		_, err := newCertificates("public", f(), newJournal().logger())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestAdminAddress: an admin listener that others can reach is refused, unless they have to show certificates, or it is wanted.
func TestAdminAddress(t *testing.T) {
	for text, refused := range map[string]bool{
		"admin: :8081": true, "admin: '0.0.0.0:1'": true, "admin: '[::]:1'": true, "admin: '10.0.0.1:1'": true, "admin: 'host:1'": true,
		"admin: 127.0.0.1:1": false, "admin: 127.9.9.9:1": false, "admin: '[::1]:1'": false, "admin: localhost:1": false, "admin: ''": false,
		"admin: :8081\nadmin_tls: {cert: c, key: k}":                true,
		"admin: :8081\nadmin_tls: {cert: c, key: k, client_ca: ca}": false,
		"admin: :8081\ntls: {cert: c, key: k, client_ca: ca}":       true,
		"admin: :8081\nadmin_insecure: true":                        false,
	} {
		_, err := literal(text, nil, nil).load()
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "atmost.yaml:1: admin: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAdminName: a name that leads to an address that others can reach is no way around that.
func TestAdminName(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		c := defaultConfig()
		c.Listen, c.Admin, c.Store, c.AdminInsecure = "127.0.0.1:0", "0.0.0.0:0", "memory", insecure // as if a name were that
		p, err := newProgram(t.Context(), source{env: func(string) (string, bool) { return "", false }}, c, newJournal().logger(), atmost.Events{})
		if (err == nil) != insecure || err != nil && !errors.Is(err, errOpenAdmin) {
			t.Errorf("insecure %v: %v", insecure, err)
		}
		if err == nil {
			p.Close()
		}
	}
}

// TestMaxConnections: a connection too many waits until another ends.
func TestMaxConnections(t *testing.T) {
	r := boot(t, "max_connections: 1\n")
	address := r.address(listenerHealth).String()
	ask := func(conn net.Conn) error {
		_, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
		if err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	first, second := dial(), dial()
	defer second.Close()
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- ask(second) }()
	for range 50 { // in which time the second would be answered
		if err := ask(first); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-answered:
		t.Fatalf("two connections at a time: %v", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, answered); err != nil {
		t.Error(err)
	}
}

// TestMaxHeader: headers that are too long are refused before anything is looked at.
func TestMaxHeader(t *testing.T) {
	r := boot(t, "max_header: 4KiB\n")
	for length, want := range map[int]int{2 << 10: http.StatusNotFound, 16 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.address(listenerPublic).String()+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Long", strings.Repeat("x", length))
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // the rest may be cut off, as the request was not read to its end
		if resp.StatusCode != want {
			t.Errorf("%d bytes: %s", length, resp.Status)
		}
	}
}
