package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/atmost-dev/atmost"
)

// secret is what a key file has for n.
func secret(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }

func keyFile(t *testing.T, name string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holds reports whether a file in dir holds text.
func holds(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// end ends the program, so that another one can have its store.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.signals <- syscall.SIGTERM
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
	r.Close()
	r.ended <- nil // for the cleanup
}

// TestHidden: neither results nor keys are in the store's files when they are not to be, and answers are the same, also after keys were
// replaced, and the service restarted.
func TestHidden(t *testing.T) {
	up := newGated(t)
	close(up.open)
	dir, keys, names := t.TempDir(), filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "names")
	keyFile(t, keys, "a "+secret(1))
	keyFile(t, names, "n "+secret(9))
	operations := "operations:\n  a: {url: '" + up.URL + "'}\n"
	store := "store: pebble:" + dir + "\n"
	sealing := "encryption_key_file: '" + keys + "'\nstore_keys: digest\nstore_keys_file: '" + names + "'\n"
	const key, result = "order-4711-of-ada", `"done":true`

	plain := t.TempDir() // what is looked for would be found
	r := boot(t, "store: pebble:"+plain+"\n"+operations)
	r.execute(t, key, request).want(t, 200, result)
	r.end(t)
	if !holds(t, plain, result) || !holds(t, plain, key) {
		t.Fatal("nothing is hidden, and not found")
	}

	r = boot(t, store+sealing+operations)
	first := r.execute(t, key, request)
	first.want(t, 200, result)
	keyFile(t, keys, "b "+secret(2), "a "+secret(1))
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "the encryption keys were read again")
	r.execute(t, key, request).want(t, 200, first.body)
	r.execute(t, "after", request).want(t, 200, result)
	for _, wrong := range [][]string{{"b " + secret(3)}, {"nonsense"}, {}} {
		keyFile(t, keys, wrong...)
		r.signals <- syscall.SIGHUP
	}
	r.log.wait(t, "the encryption keys were not replaced, those from before stay in use")
	r.execute(t, key, request).want(t, 200, first.body)
	r.execute(t, "after", request).want(t, 200, result)
	log := r.log.text()
	r.end(t)
	for n := range byte(10) {
		if strings.Contains(log, secret(n)) {
			t.Error("the log has a secret")
		}
	}
	if holds(t, dir, result) || holds(t, dir, key) {
		t.Error("what is to be hidden is in the store")
	}

	keyFile(t, keys, "b "+secret(2))
	r = boot(t, store+sealing+operations)
	r.execute(t, "after", request).want(t, 200, result)
	unavailable := r.execute(t, key, request)
	unavailable.want(t, 503, "STORE_UNAVAILABLE")
	if line := r.log.wait(t, "the store failed").text; !strings.Contains(line, "encrypted with the key a, which is not in the key file") {
		t.Errorf("the log says %s", line)
	}
	keyFile(t, keys, "b "+secret(2), "a "+secret(1))
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "the encryption keys were read again")
	r.execute(t, key, request).want(t, 200, first.body)
	keyFile(t, keys, "b "+secret(2))
	r.signals <- syscall.SIGHUP
	if gone := r.log.wait(t, "encryption keys are gone from the file: results that they encrypted cannot be opened until they are back"); !strings.Contains(gone.text, `"level":"WARN"`) || !strings.Contains(gone.text, `"gone":["a"]`) {
		t.Errorf("the log says %s", gone.text)
	}
	r.end(t)
	if n := len(up.arrived); n != 3 {
		t.Errorf("%d effects, want 3", n)
	}
}

// TestHiddenOtherwise: a store is not opened in a way in which its keys would not be found, and nothing is answered from what is
// encrypted without its key.
func TestHiddenOtherwise(t *testing.T) {
	names, others, wide := filepath.Join(t.TempDir(), "names"), filepath.Join(t.TempDir(), "others"), filepath.Join(t.TempDir(), "wide")
	keyFile(t, names, "n "+secret(9))
	keyFile(t, others, "n "+secret(8))
	keyFile(t, wide, "n "+secret(7))
	if err := os.Chmod(wide, 0o644); err != nil {
		t.Fatal(err)
	}
	digests := func(c *config) { c.StoreKeys, c.StoreKeysFile = storeDigest, names }
	start := func(dir string, set func(*config)) error {
		c := defaultConfig()
		c.Listen, c.Admin, c.Store = "127.0.0.1:0", "", "pebble:"+dir
		set(&c)
		p, err := newProgram(t.Context(), source{env: func(string) (string, bool) { return "", false }}, c, newJournal().logger(), atmost.Events{})
		if err == nil {
			p.Close()
		}
		return err
	}
	dir := t.TempDir()
	if err := start(dir, digests); err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]func(*config){
		"it has digests, and keys are to be stored as they are": func(*config) {},
		"its digests are made with another secret":              func(c *config) { digests(c); c.StoreKeysFile = others },
		"store_keys_file: open /none":                           func(c *config) { digests(c); c.StoreKeysFile = "/none" },
		"store_keys_file: others than its owner can use":        func(c *config) { digests(c); c.StoreKeysFile = wide },
		"encryption_key_file: others than its owner can use":    func(c *config) { digests(c); c.EncryptionKeyFile = wide },
	} {
		if err := start(dir, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	dir = t.TempDir()
	if err := start(dir, func(*config) {}); err != nil {
		t.Fatal(err)
	}
	if err := start(dir, digests); err == nil || !strings.Contains(err.Error(), "it has keys as they are") {
		t.Errorf("%v", err)
	}
	dir = t.TempDir()
	if err := start(dir, func(c *config) { c.EncryptionKeyFile = names }); err != nil {
		t.Fatal(err)
	}
}

// TestReloadHidden: how keys are stored is not for a reload to change.
func TestReloadHidden(t *testing.T) {
	names := filepath.Join(t.TempDir(), "names")
	keyFile(t, names, "n "+secret(9))
	r := boot(t, "store_keys: digest\nstore_keys_file: '"+names+"'\noperations: {a: {}}\n")
	r.edit(t, "store_keys: digest", "store_keys: plain", "store_keys_file: '"+names+"'", "", "a: {}", "b: {on_unknown: probe, probe_url: 'http://h/{key}'}")
	r.signals <- syscall.SIGHUP
	if line := r.log.wait(t, "nothing was reloaded: the configuration is wrong").text; !strings.Contains(line, "store_keys was changed") {
		t.Errorf("the log says %s", line)
	}
	if _, ok := r.operations["a"]; !ok {
		t.Error("the operations were replaced")
	}
}

// TestReadyHidden: what the service asks of its own store is there whatever is hidden.
func TestReadyHidden(t *testing.T) {
	names := filepath.Join(t.TempDir(), "names")
	keyFile(t, names, "n "+secret(9))
	r := boot(t, "store_keys: digest\nstore_keys_file: '"+names+"'\nencryption_key_file: '"+names+"'\n")
	r.get(t, listenerHealth, "/readyz?verbose").want(t, 200, "[+] store: ok")
	page, err := r.engine.List(context.Background(), atmost.Query{})
	if err != nil || len(page.Records) > 0 { // its own records are nobody's
		t.Errorf("listed: %+v, %v", page.Records, err)
	}
}
