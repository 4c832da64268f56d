package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConfigErrors(t *testing.T) {
	header := func(name, value string) func(*Config) {
		return func(c *Config) { c.Headers = http.Header{name: {value}} }
	}
	probe := func(url string) func(*Config) { return func(c *Config) { c.ProbeURL = url } }
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no url":         {func(c *Config) { c.URL = "" }, "url: its scheme is"},
		"scheme":         {func(c *Config) { c.URL = "ftp://h" }, "must begin with http:// or https://"},
		"no host":        {func(c *Config) { c.URL = "http://:80/" }, "names no host"},
		"not a url":      {func(c *Config) { c.URL = "http://h/%zz?secret" }, "url: it is not a URL"},
		"credentials":    {func(c *Config) { c.URL = "http://u:secret@h/" }, "Authorization header"},
		"fragment":       {func(c *Config) { c.URL = "http://h/#x" }, "%23"},
		"method":         {func(c *Config) { c.Method = "PO ST" }, "not an HTTP method"},
		"method's case":  {func(c *Config) { c.Method = "post" }, `write "POST"`},
		"CONNECT":        {func(c *Config) { c.Method = "CONNECT" }, "use POST"},
		"HEAD":           {func(c *Config) { c.Method = "HEAD" }, "use POST"},
		"header's name":  {header("a b", "1"), `"a b" is not a header's name`},
		"header's value": {header("X-A", "secret\r\nX-B: 1"), "the value of X-A has control characters"},
		"hop by hop":     {header("connection", "close"), "about the connection"},
		"our own":        {header("idempotency-key", "x"), "set by atmost itself"},
		"Host":           {header("Host", "x"), "set by atmost itself"},
		"compression":    {header("Accept-Encoding", "gzip"), "set by atmost itself"},
		"header twice": {
			func(c *Config) { c.Headers = http.Header{"X-A": {"1"}, "x-a": {"2"}} },
			"X-A and x-a are the same header",
		},
		"500 proves nothing":  {func(c *Config) { c.NotExecutedStatus = []int{500} }, "not_executed_status: 500 never proves"},
		"502 proves nothing":  {func(c *Config) { c.NotExecutedStatus = []int{503, 502} }, "not_executed_status: 502 never proves"},
		"504 proves nothing":  {func(c *Config) { c.NotExecutedStatus = []int{504} }, "not_executed_status: 504 never proves"},
		"200 is no error":     {func(c *Config) { c.NotExecutedStatus = []int{200} }, "from 400 to 599"},
		"302 is no error":     {func(c *Config) { c.FinalStatus = []int{302} }, "from 400 to 599"},
		"600 is no error":     {func(c *Config) { c.FinalStatus = []int{600} }, "from 400 to 599"},
		"both":                {func(c *Config) { c.NotExecutedStatus, c.FinalStatus = []int{503}, []int{503} }, "only mean one of them"},
		"max_result":          {func(c *Config) { c.MaxResult = -1 }, "max_result: -1 is not between"},
		"max_result, large":   {func(c *Config) { c.MaxResult = 1 << 40 }, "max_result"},
		"forward_key":         {func(c *Config) { c.ForwardKey = "hash" }, `neither "digest" nor "original"`},
		"probe_timeout":       {func(c *Config) { c.ProbeTimeout = -time.Second }, "probe_timeout: -1s is negative"},
		"nothing to ask":      {func(c *Config) { c.ProbeNotFound = true }, "no probe_url"},
		"placeholder":         {probe("http://h/{id}/{key}"), "it has {id}; the placeholders are"},
		"brace":               {probe("http://h/{key}/{"), "it has {; the placeholders are"},
		"no key":              {probe("http://h/{attempt}"), "it has no {key}"},
		"host":                {probe("http://{key}/"), "placeholder before its path"},
		"host's end":          {probe("http://h{key}/"), "placeholder before its path"},
		"scheme of the probe": {probe("{key}://h/"), "probe_url"},
		"dots":                {probe("http://h/../{key}"), "segment . or .."},
		"escaped dots":        {probe("http://h/%2E%2e/{key}"), "segment . or .."},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{URL: "http://h/", Transport: newTransport(t, nil)}
			tc.change(&c)
			u, err := New(c)
			if err == nil || u != nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want one with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	u, err := New(Config{URL: "https://h", Headers: http.Header{"x-a": {"ü\t1"}}, NotExecutedStatus: []int{503, 429}, FinalStatus: []int{500}})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{u.cfg.Method, u.cfg.MaxResult, u.cfg.ForwardKey, u.cfg.ProbeTimeout, u.transport != nil}
	for i, want := range []any{"POST", int64(1 << 20), "digest", 10 * time.Second, true} {
		if got[i] != want {
			t.Errorf("got %v, want %v", got[i], want)
		}
	}
}
