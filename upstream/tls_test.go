package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// signed makes a certificate that is its own authority, and a pool that trusts it.
func signed(t *testing.T, change func(*x509.Certificate)) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestFailedHandshakesSayWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		cert    func(*x509.Certificate)
		config  func(*tls.Config) // of the client
		trusted bool
		want    string
	}{
		"unknown authority": {want: "the upstream's certificate is signed by an authority that is not trusted"},
		"another host": {
			cert:    func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"secret.example"} },
			trusted: true, want: "the upstream's certificate is for another host name",
		},
		"expired": {
			cert:    func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
			trusted: true, want: "the upstream's certificate has expired or is not valid yet",
		},
		"not for servers": {
			cert:    func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} },
			trusted: true, want: "the upstream's certificate is not valid",
		},
		"refused": {
			config:  func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
			trusted: true, want: "the upstream refused the TLS handshake",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.cert == nil {
				tc.cert = func(*x509.Certificate) {}
			}
			cert, pool := signed(t, tc.cert)
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
			if err != nil {
				t.Fatal(err)
			}
			serveListener(t, l, says("HTTP/1.1 204 No Content\r\n\r\n"))
			config := &tls.Config{RootCAs: x509.NewCertPool()}
			if tc.trusted {
				config.RootCAs = pool
			}
			if tc.config != nil {
				tc.config(config)
			}
			said(t, "https://"+l.Addr().String(), config, tc.want)
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		srv := start(t, "http", http.NotFoundHandler())
		said(t, "https://"+srv.Listener.Addr().String(), nil, "the upstream does not speak TLS on this port")
	})
}

func said(t *testing.T, url string, config *tls.Config, want string) {
	t.Helper()
	u := newUpstream(t, url, func(c *Config) { c.Transport = NewTransport(TransportOptions{TLS: config}) })
	if diff := cmp.Diff(atmost.Outcome{State: atmost.NotExecuted, Message: want}, u.Execute(t.Context(), anAttempt)); diff != "" {
		t.Error(diff)
	}
}
