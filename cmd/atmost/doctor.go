package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/pgstore"
	"github.com/atmost-dev/atmost/store/sealed"
)

// The verdicts of a finding.
const (
	fine = "ok"
	warn = "warn"
	fail = "fail"
)

// finding is what doctor found of one thing.
type finding struct {
	Verdict string `json:"verdict"`
	What    string `json:"what"`
	Found   string `json:"found"`
	Advice  string `json:"advice,omitempty"`
}

func doctorCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Look for what would keep the service from keeping its promise", Args: noArguments,
		Long: `Looks at the configuration and at what it names: the store, how long its disk takes to make something durable, the database's clock, open
addresses, certificates, limits of the machine. It has a store prove that two claims of one key exclude each other. It can be run beside
the service; a store that is stopped is opened, as at a start. Run it as the account that runs the service: it opens no directory that has
files of another one.

Each line is ok, warn or fail, with what to do. The exit code is 1 if anything fails.`,
	}
	load := sourceFlags(c, p, "store", "postgres.unsafe_durability")
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		d := &doctor{log: slog.New(slog.DiscardHandler), uid: os.Geteuid()}
		loaded, err := load().load()
		if err != nil {
			d.add(fail, "configuration", err.Error(), "mend it; nothing else can be looked at until then")
		} else {
			d.add(fine, "configuration", "it is valid", "")
			d.examine(c.Context(), loaded)
		}
		return d.print(o)
	}
	return c
}

// doctor collects findings.
type doctor struct {
	log      *slog.Logger
	uid      int        // of the account that it is run by
	mu       sync.Mutex // a store that fails tells so at any moment
	findings []finding
}

func (d *doctor) add(verdict, what, found, advice string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.findings = append(d.findings, finding{verdict, what, found, advice})
}

var errUnwell = errors.New("something would keep the service from its promise, or from starting")

func (d *doctor) print(o *output) error {
	l := listing[finding]{to: o}
	if o.format == asTable {
		rows := [][]string{}
		for _, f := range d.findings {
			rows = append(rows, []string{o.verdict(f.Verdict), f.What, plain(f.Found)})
			if f.Advice != "" {
				rows = append(rows, []string{"", "", "→ " + plain(f.Advice)})
			}
		}
		columns(o.stdout, rows)
	} else {
		for _, f := range d.findings {
			if err := l.add(f); err != nil {
				return err
			}
		}
		if err := l.print(); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(d.findings, func(f finding) bool { return f.Verdict == fail }) {
		return errUnwell
	}
	return nil
}

// verdict is one as it is shown in a table.
func (o *output) verdict(v string) string {
	color := map[string]string{fine: "\x1b[32m", warn: "\x1b[33m", fail: "\x1b[31m"}[v]
	if !o.colored() {
		return v
	}
	return color + v + "\x1b[0m"
}

func (d *doctor) examine(ctx context.Context, c config) {
	d.exposure(c)
	d.certificate("tls", c.TLS)
	d.certificate("gateway.tls", gatewayPart(c).TLS)
	d.certificate("admin_tls", c.AdminTLS)
	d.certificate("health_tls", c.HealthTLS)
	d.secret("encryption_key_file", c.EncryptionKeyFile)
	d.secret("store_keys_file", c.StoreKeysFile)
	d.fileLimit(c)
	switch kind, dir := storeKind(c.Store); kind {
	case memoryStore:
		d.add(warn, "store", "records are kept in memory: when the process ends they are forgotten, and their keys may run again", "use pebble: or postgres:// for anything that counts")
	case pebbleStore:
		d.embedded(ctx, c, dir)
		d.backups(c.PebbleBackups)
	case postgresStore:
		d.database(ctx, c)
	}
}

func gatewayPart(c config) gatewayConfig {
	if c.Gateway == nil {
		return gatewayConfig{}
	}
	return *c.Gateway
}

// exposure looks at who can reach what.
func (d *doctor) exposure(c config) {
	for _, l := range []struct {
		name, address string
		files         tlsFiles
	}{
		{listenerPublic, c.Listen, c.TLS},
		{listenerGateway, gatewayPart(c).Listen, gatewayPart(c).TLS},
		{listenerAdmin, c.Admin, c.AdminTLS},
		{listenerHealth, c.Health, c.HealthTLS},
	} {
		what := "listener " + l.name
		switch {
		case l.address == "":
		case isLoopback(l.address):
			d.add(fine, what, l.address+" is reached from this machine only", "")
		case l.files.ClientCA != "":
			d.add(fine, what, l.address+" lets in who shows a certificate", "")
		case l.name == listenerAdmin:
			d.add(warn, what, l.address+" is open to the network: whoever reaches it can have keys executed again", "bind it to loopback, or set admin_tls with client_ca")
		case l.name == listenerPublic || l.name == listenerGateway:
			d.add(fine, what, l.address+" is open to the network; put it behind what authenticates your callers", "")
		default:
			d.add(fine, what, l.address+" is open to the network", "")
		}
	}
}

// The time before the end of a certificate at which it is worth a word.
const certificateNotice = 14 * 24 * time.Hour

// certificate looks at a listener's.
func (d *doctor) certificate(section string, files tlsFiles) {
	if files.Cert == "" {
		return
	}
	made, err := newCertificates(section, files, d.log)
	if err != nil {
		d.add(fail, section, err.Error(), "the service does not start with it")
		return
	}
	const replace = "replace its files; the service takes them up by itself"
	shown := made.current.Load().Certificates[0]
	d.validity(section, "the certificate", shown.Leaf, fail, replace)
	for _, der := range shown.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			d.validity(section, "the certificate of "+c.Subject.String()+", beside it,", c, fail, replace)
		}
	}
	authorities := certificatesIn(files.ClientCA)
	broken := fail // there is no client that is let in
	if slices.ContainsFunc(authorities, func(c *x509.Certificate) bool { return isValid(c, time.Now()) }) {
		broken = warn
	}
	for _, c := range authorities {
		d.validity(section+".client_ca", "the authority "+c.Subject.String(), c, broken,
			"clients whose certificates it signed are let in while it is valid only: add its successor, and give them new ones; the service takes the file up by itself")
	}
}

// certificatesIn are those of a file, "" for none, as far as they are any.
func certificatesIn(file string) (all []*x509.Certificate) {
	text, _ := os.ReadFile(file)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
	return all
}

func isValid(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// validity looks at when a certificate is valid. Broken is the verdict of one that is not.
func (d *doctor) validity(setting, what string, c *x509.Certificate, broken, advice string) {
	switch now := time.Now(); {
	case now.Before(c.NotBefore):
		d.add(broken, setting, what+" is not valid before "+moment(c.NotBefore), "is this machine's clock right? Else "+advice)
	case !isValid(c, now):
		d.add(broken, setting, what+" expired at "+moment(c.NotAfter), advice)
	case c.NotAfter.Sub(now) < certificateNotice:
		d.add(warn, setting, what+" is valid until "+moment(c.NotAfter), advice)
	default:
		d.add(fine, setting, what+" is valid until "+moment(c.NotAfter), "")
	}
}

// secret looks at a file of keys by which something in the store is hidden.
func (d *doctor) secret(setting, file string) {
	if file == "" {
		return
	}
	keys, err := sealed.ReadKeys(file)
	if err != nil {
		d.add(fail, setting, err.Error(), "the service does not start without it, and what was stored with its keys cannot be read without them")
		return
	}
	d.add(fine, setting, fmt.Sprintf("keys: %s; keep a copy where the store's backups are not", strings.Join(keys.IDs(), ", ")), "")
}

// embedded looks at a store in a directory.
func (d *doctor) embedded(ctx context.Context, c config, dir string) {
	at, ok := existingPart(dir)
	if !ok {
		d.add(fail, "store", at+" is not a directory", "remove what is there, or name another directory")
		return
	}
	if !holdsStore(dir) {
		d.add(fine, "store", dir+" is not there yet, or empty; the service makes it", "")
	} else {
		d.open(ctx, dir)
	}
	scratch, err := os.MkdirTemp(at, ".atmost-doctor-")
	if err != nil {
		d.add(fail, "directory", cause(err).Error(), "the account that runs the service must be able to write in "+at)
		return
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // it has been of use
	if !d.space(c, scratch) {
		return // nothing can be tried there
	}
	d.syncs(scratch)
	store, err := pebblestore.Open(filepath.Join(scratch, "store"), pebblestore.Options{Logger: d.log, CacheSize: 1 << 20, DiskReserve: 1, Fatal: d.fatal})
	if err != nil {
		d.add(fail, "claims", err.Error(), "")
		return
	}
	defer store.Close() //nolint:errcheck // nothing in it counts
	d.proof(ctx, store)
}

// existingPart is as much of a directory's path as is there, and whether that is a directory.
func existingPart(dir string) (at string, ok bool) {
	for at = dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Lstat(at); err == nil {
			break
		}
	}
	info, err := os.Stat(at)
	return at, err == nil && info.IsDir()
}

// backups looks at the directory that the service makes backups in.
func (d *doctor) backups(dir string) {
	const what = "pebble.backups"
	if dir == "" {
		return
	}
	at, ok := existingPart(dir)
	if !ok {
		d.add(fail, what, at+" is not a directory: no backup can be made", "remove what is there, or name another directory")
		return
	}
	scratch, err := os.MkdirTemp(at, ".atmost-doctor-")
	if err == nil {
		err = os.Remove(scratch)
	}
	if err != nil {
		d.add(fail, what, cause(err).Error()+": no backup can be made", "the account that runs the service must be able to write in "+at)
		return
	}
	d.add(fine, what, "backups can be made in "+dir, "")
}

// open looks whether the store can be opened.
func (d *doctor) open(ctx context.Context, dir string) {
	if owner, others := otherOwner(dir, d.uid); others {
		d.add(warn, "store", fmt.Sprintf("%s has files of account %s, and this is account %d: it was not opened, which would leave files that the service may not open", dir, owner, d.uid),
			"run this as the account that runs the service, to whom all of the directory must belong")
		return
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{Logger: d.log, Fatal: d.fatal})
	switch {
	case errors.Is(err, pebblestore.ErrInUse):
		d.add(fine, "store", dir+" is in use, by a service that runs", "")
		return
	case err != nil:
		d.add(fail, "store", err.Error(), "")
		return
	}
	guarded := s.Guarded()
	page, err := s.List(ctx, atmost.Query{Limit: 1})
	ahead := page.Now.Sub(atmost.TimeOf(time.Now()))
	if err := errors.Join(err, s.Close()); err != nil {
		d.add(fail, "store", err.Error(), "")
		return
	}
	d.guard(dir, guarded)
	if ahead > maxAhead {
		d.add(warn, "clock", fmt.Sprintf("the store's clock, which never goes back, is %s ahead of this machine's", ahead.Round(time.Second)),
			"this machine's clock was set back, or was wrong before; keys are kept that much longer. Does NTP run?")
		return
	}
	d.add(fine, "clock", "the store's goes with this machine's", "")
}

// maxAhead is how far the clock of an embedded store may be ahead of this machine's before it is worth a word. After a crash it is a
// second or so.
const maxAhead = 10 * time.Second

func (d *doctor) guard(store string, guarded bool) {
	if guarded {
		d.add(warn, "store", store+" is guarded: it may have forgotten keys, and refuses new ones", "see atmost admit --help")
		return
	}
	d.add(fine, "store", store+" can be opened", "")
}

// space looks at the disk's, and reports whether something can be tried there.
func (d *doctor) space(c config, dir string) bool {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		d.add(warn, "disk space", err.Error(), "")
		return true
	}
	free, reserve := formatMega(usage.AvailBytes), uint64(c.PebbleDiskReserve)
	switch {
	case usage.AvailBytes <= reserve:
		d.add(fail, "disk space", free+" are free, which is what pebble.disk_reserve keeps: new keys are refused", "make room")
	case usage.AvailBytes < 4*reserve:
		d.add(warn, "disk space", free+" are free; at "+formatSize(c.PebbleDiskReserve)+" new keys are refused", "make room")
	default:
		d.add(fine, "disk space", free+" are free", "")
	}
	return usage.AvailBytes > neededToTry
}

// neededToTry is the room, in bytes, that a scratch store takes.
const neededToTry = 64 << 20

// fatal is for stores that would end the process.
func (d *doctor) fatal(err error) { d.add(fail, "store", err.Error(), "") }

func formatMega(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// How long a sync of the disk may take, at the median, and what is too quick to be one.
const (
	slowSync  = 10 * time.Millisecond
	quickSync = 20 * time.Microsecond
)

// syncs measures how long the disk takes to make something durable: each answer waits for two of these.
func (d *doctor) syncs(dir string) {
	took, err := measureSyncs(filepath.Join(dir, "sync"), 200, 3*time.Second)
	if err != nil {
		d.add(fail, "disk", err.Error(), "")
		return
	}
	slices.Sort(took)
	median, tail := took[len(took)/2], took[len(took)*99/100]
	found := fmt.Sprintf("a sync takes %s, one in a hundred %s", median.Round(time.Microsecond), tail.Round(time.Microsecond))
	switch {
	case median < quickSync:
		d.add(warn, "disk", found, "that is too quick to be durable: is it a tmpfs, or a disk that acknowledges what it has not written? A power cut then takes back answers")
	case median > slowSync:
		d.add(warn, "disk", found, "each answer waits for two of these; a local SSD takes less than 1ms")
	default:
		d.add(fine, "disk", found, "")
	}
}

// measureSyncs writes and syncs n times, as long as there is time, and once at least.
func measureSyncs(name string, n int, atMost time.Duration) (took []time.Duration, err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, 512)
	for begin := time.Now(); len(took) < n && (len(took) == 0 || time.Since(begin) < atMost); {
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		at := time.Now()
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}

// proof has the store prove that claims exclude each other, as at each start.
func (d *doctor) proof(ctx context.Context, store atmost.Store) {
	e, err := atmost.New(ctx, store, atmost.Options{})
	if err != nil {
		d.add(fail, "claims", err.Error(), "do not use this store")
		return
	}
	e.Close(ctx)
	d.add(fine, "claims", "two claims of one key exclude each other", "")
}

// maxClockOffset is how far the database's clock may be off this machine's before it is worth a word.
const maxClockOffset = time.Second

// database looks at a store in PostgreSQL.
func (d *doctor) database(ctx context.Context, c config) {
	o := postgresOptions(c, d.log)
	s, err := pgstore.Open(ctx, c.Store, o)
	if err != nil {
		d.add(fail, "store", oneLine{err}.Error(), "")
		return
	}
	defer s.Close() //nolint:errcheck // nothing was changed
	d.guard(shownStore(c.Store), s.Guarded())
	d.proof(ctx, s)
	if c.UnsafeDurability {
		d.add(warn, "durability", "unsafe_durability accepts a database that loses what it acknowledged", "the promise is void with it")
	}
	offset, round, err := clockOffset(ctx, c.Store)
	found := fmt.Sprintf("the database's clock is %s off this machine's; a round trip takes %s", offset.Round(time.Millisecond), round.Round(10*time.Microsecond))
	switch {
	case err != nil:
		d.add(warn, "clock", oneLine{err}.Error(), "")
	case offset.Abs() > maxClockOffset+round:
		d.add(warn, "clock", found, "leases and retention go by the database's, so nothing breaks; times in logs will not fit together. Does NTP run on both?")
	default:
		d.add(fine, "clock", found, "")
	}
}

// clockOffset is by how much the database's clock is ahead of this machine's, give or take a round trip.
func clockOffset(ctx context.Context, url string) (offset, round time.Duration, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it has answered
	for range 3 {         // the first one may have had to wait for something
		var there time.Time
		sent := time.Now()
		if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there); err != nil {
			return 0, 0, err
		}
		round = time.Since(sent)
		offset = there.Sub(sent.Add(round / 2))
	}
	return offset, round, nil
}
