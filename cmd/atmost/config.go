package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/pgstore"
	"github.com/atmost-dev/atmost/upstream"
)

// config is everything that can be set. It is made by source.load, and not changed afterwards.
type config struct {
	Listen, Admin, Health string
	Store                 string
	Migrate               bool
	TLS                   tlsFiles // of Listen
	AdminTLS, HealthTLS   tlsFiles
	AdminInsecure         bool
	EncryptionKeyFile     string
	StoreKeys             string
	StoreKeysFile         string
	MaxBody               int64
	MaxHeader             int64
	MaxConnections        int
	MaxPending            int
	AllowUnlisted         bool
	DrainDelay            time.Duration
	DrainTimeout          time.Duration
	ReadTimeout           time.Duration
	IdleTimeout           time.Duration
	ClaimPatience         time.Duration
	PebbleCache           int64
	PebbleBackups         string
	PebbleDiskReserve     int64
	PostgresMaxConns      int
	PostgresBatchSize     int
	PostgresLinger        time.Duration
	PostgresTimeout       time.Duration
	PostgresRetries       int
	UnsafeDurability      bool
	LogLevel, LogFormat   string

	Operations map[string]operation
	Unlisted   *operation // the defaults, if AllowUnlisted

	Gateway *gatewayConfig // nil: there is none
}

// operation is the configuration of one operation. Without a URL it is executed by clients.
type operation struct {
	URL, Method       string
	Headers           map[string]header
	Timeout           time.Duration
	Concurrency       int
	MaxPending        int
	NotExecutedStatus []int
	FinalStatus       []int
	OnUnknown         string
	ProbeURL          string
	ProbeNotFound     string
	ProbeSettle       time.Duration
	MaxResult         int64
	DuplicateWait     time.Duration
	ResultRetention   time.Duration
	KeyRetention      time.Duration
	ForwardKey        string
}

// header is the value of a static header, and where it came from if not from the file itself.
type header struct {
	value     string
	env, file string
}

// The words that settings take.
const (
	probeNotFoundUnknown     = "unknown"
	probeNotFoundNotExecuted = "not_executed"

	logAuto = "auto"
	logText = "text"
	logJSON = "json"
)

func defaultConfig() config {
	return config{
		Listen: "127.0.0.1:8080", Admin: "127.0.0.1:8081", Store: "pebble:./atmost-data",
		StoreKeys: storePlain,
		MaxBody:   server.DefaultMaxBody, MaxHeader: 64 << 10, MaxConnections: 10_000, MaxPending: atmost.DefaultMaxPending,
		DrainTimeout: 30 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ClaimPatience: atmost.DefaultClaimPatience,
		PebbleCache:   pebblestore.DefaultCacheSize, PebbleDiskReserve: pebblestore.DefaultDiskReserve,
		PostgresMaxConns: pgstore.DefaultMaxConns, PostgresBatchSize: pgstore.DefaultBatchSize,
		PostgresTimeout: pgstore.DefaultTimeout, PostgresRetries: pgstore.DefaultRetries,
		LogLevel: "info", LogFormat: logAuto,
		Operations: map[string]operation{},
	}
}

// defaultOperation leaves out what depends on other settings: complete fills that in.
func defaultOperation() operation {
	return operation{
		Method: "POST", Timeout: atmost.DefaultTimeout, Concurrency: atmost.DefaultConcurrency,
		OnUnknown: atmost.HoldUnknown.String(), ProbeNotFound: probeNotFoundUnknown,
		MaxResult: upstream.DefaultMaxResult, ResultRetention: atmost.DefaultResultRetention, ForwardKey: upstream.ForwardDigest,
	}
}

// complete fills in the defaults that depend on other settings.
func (o *operation) complete() {
	full := atmost.Operation{
		Timeout: o.Timeout, Concurrency: o.Concurrency, MaxPending: o.MaxPending, ProbeSettle: o.ProbeSettle,
		ResultRetention: o.ResultRetention, KeyRetention: o.KeyRetention,
	}.WithDefaults()
	o.MaxPending, o.ProbeSettle, o.KeyRetention = full.MaxPending, full.ProbeSettle, full.KeyRetention
}

// mostStoreTimeout leaves time to renew a lease: it is asked for when a third is over of 15 seconds at least.
const mostStoreTimeout = 10 * time.Second

// settings are the settings of the service itself.
func settings() []setting[config] {
	const most = 24 * time.Hour
	return slices.Concat([]setting[config]{
		text("listen", func(c *config) *string { return &c.Listen }, checkAddress),
		text("admin", func(c *config) *string { return &c.Admin }, checkAddressOrNone),
		text("health", func(c *config) *string { return &c.Health }, checkAddressOrNone),
		text("store", func(c *config) *string { return &c.Store }, checkStore).hiding(shownStore),
		truthOf("migrate", func(c *config) *bool { return &c.Migrate }),
		truthOf("admin_insecure", func(c *config) *bool { return &c.AdminInsecure }),
		text("encryption_key_file", func(c *config) *string { return &c.EncryptionKeyFile }, anyText),
		choice("store_keys", func(c *config) *string { return &c.StoreKeys }, storePlain, storeDigest),
		text("store_keys_file", func(c *config) *string { return &c.StoreKeysFile }, anyText),
		size("max_body", func(c *config) *int64 { return &c.MaxBody }, 1, 1<<30),
		size("max_header", func(c *config) *int64 { return &c.MaxHeader }, 4<<10, 1<<20),
		number("max_connections", func(c *config) *int { return &c.MaxConnections }, 1, 1<<20),
		number("max_pending", func(c *config) *int { return &c.MaxPending }, 1, 1<<30),
		truthOf("allow_unlisted", func(c *config) *bool { return &c.AllowUnlisted }),
		duration("drain_delay", func(c *config) *time.Duration { return &c.DrainDelay }, 0, most),
		duration("drain_timeout", func(c *config) *time.Duration { return &c.DrainTimeout }, 0, most),
		duration("read_timeout", func(c *config) *time.Duration { return &c.ReadTimeout }, time.Second, most),
		duration("idle_timeout", func(c *config) *time.Duration { return &c.IdleTimeout }, time.Second, most),
		duration("claim_patience", func(c *config) *time.Duration { return &c.ClaimPatience }, 100*time.Millisecond, time.Minute),
		size("pebble.cache", func(c *config) *int64 { return &c.PebbleCache }, 1<<20, 1<<40),
		size("pebble.disk_reserve", func(c *config) *int64 { return &c.PebbleDiskReserve }, 1, 1<<50),
		text("pebble.backups", func(c *config) *string { return &c.PebbleBackups }, anyText),
		number("postgres.max_conns", func(c *config) *int { return &c.PostgresMaxConns }, 1, 1000),
		number("postgres.batch_size", func(c *config) *int { return &c.PostgresBatchSize }, 1, 10_000),
		duration("postgres.linger", func(c *config) *time.Duration { return &c.PostgresLinger }, 0, time.Second),
		duration("postgres.timeout", func(c *config) *time.Duration { return &c.PostgresTimeout }, 100*time.Millisecond, mostStoreTimeout),
		number("postgres.retries", func(c *config) *int { return &c.PostgresRetries }, 1, 1000),
		truthOf("postgres.unsafe_durability", func(c *config) *bool { return &c.UnsafeDurability }),
		choice("log.level", func(c *config) *string { return &c.LogLevel }, "debug", "info", "warn", "error"),
		choice("log.format", func(c *config) *string { return &c.LogFormat }, logAuto, logText, logJSON),
	},
		tlsSettings("tls", func(c *config) *tlsFiles { return &c.TLS }),
		tlsSettings("admin_tls", func(c *config) *tlsFiles { return &c.AdminTLS }),
		tlsSettings("health_tls", func(c *config) *tlsFiles { return &c.HealthTLS }),
	)
}

// serveFlags are the settings that have a flag, with what help says about it.
func serveFlags() map[string]string {
	return map[string]string{
		"listen": "address of the public API",
		"admin":  "address of the admin listener, empty for none",
		"health": "address of an extra listener for probes and metrics, empty for none",
		"store":  "where records are kept: pebble:DIR, postgres://USER@HOST/DATABASE, or memory: for trying things out",

		"admin_insecure":             "open an admin address that is not loopback, without certificates of clients",
		"migrate":                    "bring the database's schema up to date first",
		"postgres.unsafe_durability": "accept a database that acknowledges what a crash of it can take back",
	}
}

// perOperation are the settings of an operation whose values are text; its headers are read apart.
func perOperation() []setting[operation] {
	return []setting[operation]{
		text("url", func(o *operation) *string { return &o.URL }, checkURL),
		text("method", func(o *operation) *string { return &o.Method }, checkMethod),
		duration("timeout", func(o *operation) *time.Duration { return &o.Timeout }, time.Millisecond, atmost.MaxTimeout),
		number("concurrency", func(o *operation) *int { return &o.Concurrency }, 1, 1<<20),
		number("max_pending", func(o *operation) *int { return &o.MaxPending }, 1, 1<<30),
		statuses("not_executed_status", func(o *operation) *[]int { return &o.NotExecutedStatus }, checkNotExecutedStatus),
		statuses("final_status", func(o *operation) *[]int { return &o.FinalStatus }, checkFinalStatus),
		choice("on_unknown", func(o *operation) *string { return &o.OnUnknown }, onUnknownNames()...),
		text("probe_url", func(o *operation) *string { return &o.ProbeURL }, checkProbeURL),
		choice("probe_not_found", func(o *operation) *string { return &o.ProbeNotFound }, probeNotFoundUnknown, probeNotFoundNotExecuted),
		duration("probe_settle", func(o *operation) *time.Duration { return &o.ProbeSettle }, time.Millisecond, atmost.MaxRetention),
		size("max_result", func(o *operation) *int64 { return &o.MaxResult }, 1, 1<<30),
		duration("duplicate_wait", func(o *operation) *time.Duration { return &o.DuplicateWait }, 0, atmost.MaxWait),
		duration("result_retention", func(o *operation) *time.Duration { return &o.ResultRetention }, atmost.MinRetention, atmost.MaxRetention),
		duration("key_retention", func(o *operation) *time.Duration { return &o.KeyRetention }, atmost.MinRetention, atmost.MaxRetention),
		choice("forward_key", func(o *operation) *string { return &o.ForwardKey }, upstream.ForwardDigest, upstream.ForwardOriginal),
	}
}

func onUnknownNames() []string {
	return []string{atmost.HoldUnknown.String(), atmost.ProbeUnknown.String(), atmost.RetryUnknown.String()}
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	if err != nil || notNumber != nil || n > 65535 || strings.ContainsAny(host, " /") {
		return errors.New(strconv.Quote(s) + " is not an address; write host:port, for example 127.0.0.1:8080")
	}
	return nil
}

// anyText is for what cannot be judged before it is used.
func anyText(string) error { return nil }

func checkAddressOrNone(s string) error {
	if s == "" {
		return nil
	}
	return checkAddress(s)
}

// only asks package upstream about one setting; everything else is beyond reproach.
func only(name string, c upstream.Config) error {
	if c.URL == "" {
		c.URL = "http://localhost"
	}
	if _, err := upstream.New(c); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), name+": "))
	}
	return nil
}

func checkURL(s string) error {
	if s == "" {
		return errors.New("is empty; leave it out if clients execute the operation")
	}
	if strings.ContainsAny(s, "{}") {
		return errors.New("it has { or }; only a probe_url has placeholders, anywhere else write %7B and %7D")
	}
	if err := only("url", upstream.Config{URL: s}); err != nil {
		return err
	}
	return checkPort(s)
}

// checkPort looks at the port of a URL, if it has one.
func checkPort(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Port() == "" {
		return nil // what is no URL is told by others
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return fmt.Errorf("its port is %s, which is not between 1 and 65535", u.Port())
	}
	return nil
}

func checkMethod(s string) error { return only("method", upstream.Config{Method: s}) }

func checkProbeURL(s string) error {
	if err := only("probe_url", upstream.Config{ProbeURL: s}); err != nil {
		return err
	}
	return checkPort(strings.NewReplacer("{", "", "}", "").Replace(s)) // placeholders are not in the host
}

func checkNotExecutedStatus(status int) error {
	return only("not_executed_status", upstream.Config{NotExecutedStatus: []int{status}})
}

func checkFinalStatus(status int) error {
	return only("final_status", upstream.Config{FinalStatus: []int{status}})
}

// sameAddress reports whether two listeners could not both have their addresses. Port 0 is a different one each time.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isEveryHost(hostA) || isEveryHost(hostB)
}

// isLoopback reports whether only this machine can reach a listener at address.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isEveryHost(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
