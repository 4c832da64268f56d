package sealed

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestParseKeys(t *testing.T) {
	good := line("a", 1)
	keys := keysOf(t, "# comment\n", "\r\n", "  "+good, strings.Replace(line("B-2_x.", 2), "\n", "\r\n", 1))
	if ids := keys.IDs(); !slices.Equal(ids, []string{"a", "B-2_x."}) || keys.first.id != "a" {
		t.Errorf("keys %v, the first is %s", ids, keys.first.id)
	}
	if k := keys.first; slices.Equal(k.sealing, k.nonce) || slices.Equal(k.naming, k.proof) || slices.Equal(k.sealing, k.naming) {
		t.Error("two uses share a key")
	}
	secret := strings.Fields(good)[1]
	for text, want := range map[string]string{
		"":                               "there is no key",
		"# a\n\n":                        "there is no key",
		secret:                           "line 1 is not an id",
		good + "b\n":                     "line 2 is not an id",
		"a " + secret + " b":             "line 1 is not an id",
		"ä " + secret:                    "line 1 is not an id",
		strings.Repeat("x", 33) + good:   "line 1 is not an id",
		"a " + secret[1:]:                "line 1: the secret is not 32 bytes in base64",
		"a " + secret[:40]:               "line 1: the secret is not 32 bytes in base64",
		"a " + secret[:42] + "B=":        "line 1: the secret is not 32 bytes in base64", // bits that nothing reads
		good + "\n\n" + line("a", 2):     "line 4: the id a is there twice",
		good + "!" + line("b", 2):        "line 2 is not an id",
		line("a", 1) + "b " + secret[2:]: "line 2: the secret is not",
	} {
		k, err := ParseKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "AQEB") || k != nil {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "keys")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	good := line("a", 1)
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o440: "", 0o640: "",
		0o644: "mode is 0644", 0o604: "mode is 0604", 0o602: "others", 0o620: "others", 0o660: "others", 0o601: "others",
	} {
		write(good, mode)
		_, err := ReadKeys(name)
		switch {
		case runtime.GOOS == "windows":
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name)):
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for text, want := range map[string]string{"a": "the key file " + name + ": line 1", strings.Repeat("#", maxKeyFile+1): "too large"} {
		write(text, 0o600)
		if _, err := ReadKeys(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := ReadKeys(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// TestSet: a key keeps its id for as long as it is in force.
func TestSet(t *testing.T) {
	ring := ringOf(t, line("a", 1))
	if _, err := ring.Set(keysOf(t, line("b", 2), line("a", 3))); err == nil || !strings.Contains(err.Error(), "the key a is not") {
		t.Errorf("%v", err)
	}
	if ids := ring.keys.Load().IDs(); len(ids) != 1 {
		t.Errorf("what was refused is in force: %v", ids)
	}
	for _, step := range []struct {
		file string
		gone []string
	}{
		{line("b", 2) + line("a", 1), nil},
		{line("c", 3) + line("b", 2) + line("a", 1), nil},
		{line("b", 2), []string{"c", "a"}},
	} {
		if gone, err := ring.Set(keysOf(t, step.file)); err != nil || !slices.Equal(gone, step.gone) {
			t.Errorf("gone are %v, %v, want %v", gone, err, step.gone)
		}
	}
}

// FuzzParseKeys: no file makes it panic, and no error shows what is in one.
func FuzzParseKeys(f *testing.F) {
	f.Add(line("a", 1) + "# x\n" + line("b", 2))
	f.Add("a QUFB\n")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys([]byte(text))
		if err == nil && (keys.first == nil || len(keys.IDs()) != len(keys.byID) || keys.byID[keys.IDs()[0]] != keys.first) {
			t.Errorf("%q makes %+v", text, keys)
		}
	})
}
