package main

import (
	"crypto/x509"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/store/pebblestore"
)

func newDoctor() *doctor { return &doctor{log: slog.New(slog.DiscardHandler), uid: os.Geteuid()} }

// found tells that there is a finding about what, and that each of them is by that verdict and has words of says.
func (d *doctor) found(t *testing.T, what, verdict string, says ...string) {
	t.Helper()
	there := 0
	for _, f := range d.findings {
		if f.What != what {
			continue
		}
		there++
		for _, words := range says {
			if f.Verdict != verdict || !strings.Contains(f.Found, words) || (f.Verdict == fine) != (f.Advice == "") {
				t.Errorf("%+v, want %s, %s, and advice unless it is ok", f, verdict, words)
			}
		}
	}
	if there == 0 {
		t.Errorf("nothing about %s in %+v", what, d.findings)
	}
}

// TestDoctorCertificates: what is not valid, or soon not any more, is told of the certificate and of those that sign the clients'.
func TestDoctorCertificates(t *testing.T) {
	const year = 365 * 24 * time.Hour
	from := func(lasts time.Duration) *authority {
		a := &authority{t: t}
		a.key, a.cert = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(lasts)})
		return a
	}
	ours, soon, late := from(year), from(time.Hour), from(-time.Hour)
	early := &authority{t: t}
	early.key, early.cert = early.sign(&x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(year),
	})
	long := ours.issue(year)
	for name, c := range map[string]struct {
		shown         pair
		clientCA      []byte
		what, verdict string
		says          string
	}{
		"all is well":                 {long, ours.pem(), "tls.client_ca", fine, "is valid until"},
		"the certificate, too":        {long, ours.pem(), "tls", fine, "is valid until"},
		"it ends soon":                {ours.issue(time.Hour), nil, "tls", warn, "the certificate is valid until"},
		"it has ended":                {ours.issue(-time.Hour), nil, "tls", fail, "the certificate expired at"},
		"it has not begun":            {early.issued(time.Now().Add(time.Hour), time.Now().Add(year)), nil, "tls", fail, "the certificate is not valid before"},
		"an authority ends soon":      {long, soon.pem(), "tls.client_ca", warn, "is valid until"},
		"an authority has ended":      {long, late.pem(), "tls.client_ca", fail, "expired at"},
		"an authority has not begun":  {long, early.pem(), "tls.client_ca", fail, "is not valid before"},
		"an authority had been there": {long, slices.Concat(late.pem(), ours.pem()), "tls.client_ca", warn, "expired at"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoctor()
			d.certificate("tls", newCertificateFiles(t, c.shown, c.clientCA).tlsFiles)
			if name == "an authority had been there" {
				d.findings = slices.DeleteFunc(d.findings, func(f finding) bool { return f.Verdict == fine })
			}
			d.found(t, c.what, c.verdict, c.says)
		})
	}
	chain := long
	chain.cert = slices.Concat(long.cert, late.pem())
	d := newDoctor()
	d.certificate("tls", newCertificateFiles(t, chain, nil).tlsFiles)
	d.findings = slices.DeleteFunc(d.findings, func(f finding) bool { return f.Verdict == fine })
	d.found(t, "tls", fail, "beside it, expired at")
}

// TestDoctorBackups: a directory in which no backup could be made is told before one is needed, and nothing is made.
func TestDoctorBackups(t *testing.T) {
	dir := t.TempDir()
	file, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "dangling")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		dir: fine, filepath.Join(dir, "new", "backups"): fine, file: fail, filepath.Join(file, "below"): fail, dangling: fail, "/proc/self/backups": fail,
	} {
		d := newDoctor()
		d.backups(at)
		d.found(t, "pebble.backups", want, "")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// TestDoctorOtherAccount: the store of another account is not opened: it would get files that this one may not open.
func TestDoctorOtherAccount(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	look := func() map[string]time.Time {
		files := map[string]time.Time{}
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			info, err := e.Info()
			if err == nil {
				files[path] = info.ModTime()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before, d := look(), newDoctor()
	d.uid++
	d.embedded(t.Context(), defaultConfig(), dir)
	d.found(t, "store", warn, "has files of account")
	if after := look(); !maps.Equal(before, after) {
		t.Errorf("there were %v, and are %v", before, after)
	}
	d = newDoctor()
	d.embedded(t.Context(), defaultConfig(), dir)
	d.found(t, "store", fine, "can be opened")
}
