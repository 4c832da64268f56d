package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// tlsFiles names the PEM files of a listener. Without a certificate it speaks no TLS.
type tlsFiles struct {
	Cert, Key string
	ClientCA  string // whose clients are let in; "": all are
}

// tlsSettings are those of a listener, in a section of their own.
func tlsSettings[T any](section string, files func(*T) *tlsFiles) []setting[T] {
	return []setting[T]{
		text(section+".cert", func(c *T) *string { return &files(c).Cert }, anyText),
		text(section+".key", func(c *T) *string { return &files(c).Key }, anyText),
		text(section+".client_ca", func(c *T) *string { return &files(c).ClientCA }, anyText),
	}
}

// checkTLS complains about files that are of no use without others.
func (l *loader) checkTLS(section string, f tlsFiles) {
	switch {
	case f.Cert == "" && f.Key != "":
		l.about(section+".key", "is a key without a certificate; set %s.cert too", section)
	case f.Cert != "" && f.Key == "":
		l.about(section+".cert", "is a certificate without its key; set %s.key too", section)
	case f.Cert == "" && f.ClientCA != "":
		l.about(section+".client_ca", "clients show certificates only where the listener has one; set %s.cert and %s.key too", section, section)
	}
}

// certificates are what a listener shows, and what it asks of clients. The files can be replaced while it is served.
type certificates struct {
	listener string
	files    tlsFiles
	log      *slog.Logger
	current  atomic.Pointer[tls.Config]

	mu   sync.Mutex
	seen []byte // what the files held when they were last looked at
}

func newCertificates(listener string, files tlsFiles, log *slog.Logger) (*certificates, error) {
	c := &certificates{listener: listener, files: files, log: log}
	pems, seen, err := c.read()
	if err != nil {
		return nil, err
	}
	made, err := c.make(pems)
	if err != nil {
		return nil, err
	}
	c.seen = seen
	c.current.Store(made)
	return c, nil
}

// read returns what each file holds, and all of it in one, or why there is nothing to be had.
func (c *certificates) read() (pems [3][]byte, seen []byte, err error) {
	for i, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if name == "" {
			continue
		}
		if pems[i], err = os.ReadFile(name); err != nil {
			err = fmt.Errorf("the file %s cannot be read: %w", name, cause(err))
			return pems, []byte(err.Error()), err
		}
		seen = append(append(seen, pems[i]...), 0)
	}
	return pems, seen, nil
}

// make makes what TLS needs of the files. No error tells what is in the key.
func (c *certificates) make(pems [3][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(pems[0], pems[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no certificate and its key: %w", c.files.Cert, c.files.Key, err)
	}
	made := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if c.files.ClientCA == "" {
		return made, nil
	}
	if made.ClientCAs, err = authorities(pems[2]); err != nil {
		return nil, fmt.Errorf("%s: %w", c.files.ClientCA, err)
	}
	made.ClientAuth = tls.RequireAndVerifyClientCert
	made.SessionTicketsDisabled = true // no session lets in a client that has expired since, or whose authority was taken out
	return made, nil
}

// authorities are the certificates in a PEM file, in which there is nothing else: who is let in must not depend on what was skipped.
func authorities(file []byte) (*x509.CertPool, error) {
	const begin = "-----BEGIN "
	pool := x509.NewCertPool()
	_, blocks, found := bytes.Cut(file, []byte(begin))
	if !found {
		return nil, errors.New("there is no certificate in it")
	}
	for i, text := range bytes.Split(blocks, []byte(begin)) {
		block, _ := pem.Decode(append([]byte(begin), text...))
		if block == nil {
			return nil, fmt.Errorf("block %d in it is damaged", i+1)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d in it, a %s, is not a certificate", i+1, block.Type)
		}
		pool.AddCert(certificate)
	}
	return pool, nil
}

// config is for the listener: each connection gets what is current when it begins.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}

// refresh looks at the files again. What is wrong with them is logged, and leaves all as it was; what was seen already is passed
// over, unless it is told to look at all.
func (c *certificates) refresh(all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pems, seen, err := c.read()
	if bytes.Equal(seen, c.seen) && !all {
		return
	}
	same := bytes.Equal(seen, c.seen)
	c.seen = seen
	var made *tls.Config
	if err == nil {
		made, err = c.make(pems)
	}
	if err != nil {
		c.log.Error("the certificate was not replaced, the one before stays in use", "listener", c.listener, "error", err)
		return
	}
	c.current.Store(made)
	if !same {
		c.log.Info("the certificate was replaced", "listener", c.listener, "not_after", made.Certificates[0].Leaf.NotAfter)
	}
}

// certificateInterval is how often the files are looked at.
const certificateInterval = 10 * time.Second

// watch looks at the files of all again and again until ctx ends.
func watch(ctx context.Context, all []*certificates) {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, c := range all {
				c.refresh(false)
			}
		case <-ctx.Done():
			return
		}
	}
}

// errOpenAdmin says why an admin listener is not opened, and what to do.
var errOpenAdmin = errors.New("it has no authentication, and whoever reaches it can change records and profile the process; " +
	"bind it to a loopback address, or have clients show certificates (admin_tls with client_ca), or, if something else keeps others away, " +
	"set admin_insecure: true; probes and metrics are on the health listener, too")
