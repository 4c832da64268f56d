package fingerprint

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// someSecret is 0, 1, 2 and so on.
func someSecret() (secret [32]byte) {
	for i := range secret {
		secret[i] = byte(i)
	}
	return secret
}

// count is an array of the numbers below n.
func count(n int) string {
	return strings.ReplaceAll(fmt.Sprint(slices.Collect(func(yield func(int) bool) {
		for i := range n {
			yield(i)
		}
	})), " ", ",")
}

// The digests come from Python's hmac and hashlib, over values written by hand. As with golden, these never change.
func TestPathsGolden(t *testing.T) {
	p := NewPaths(someSecret())
	for _, g := range []struct{ scope, key, payload, digests string }{
		{"", "k", `{"currency": "EUR", "amount": 1250}`, "f6aea59933a5e9894f6a832f"},
		{"tenant", "k", `{"currency": "EUR", "amount": 1250}`, "7eba6ba811a608a73d6d5caf"},
		{
			"", "k", `{"\u00e9\u000a":"\"\\", "e":[], "c~": { }, "a/b":[1.10,{"x":null}]}`,
			"c01b986587d8dd81a9f96fda7c2bc79a9573937a4fee2e3672f53754ca01c86c",
		},
		{ // no more than 16
			"", "k", count(20),
			"96fcbaf873091cf245aec2afe0919075a7967058e457d10a539c900ba34d8cfbb2e0a25bda7fbc2651f63cddeacbc4c65f1124165d99f71dd4e7e683e9e46be8",
		},
		{"", "k", `{}`, "9647e4e2"},
		{"", "k", `1250`, ""}, // has no parts
		{"", "k", `"text"`, ""},
		{"", "k", `null`, ""},
		{"", "k", ``, ""},
		{"", "k", `{"a":1,"a":2}`, ""},
		{"", "k", `{"a":`, ""},
		{"", "k", "[\"\xff\"]", ""},
	} {
		_, form, _ := Of(JSON1, "op", []byte(g.payload))
		for _, c := range []Canonical{form, Canonicalize([]byte(g.payload))} {
			if got := p.Of(g.scope, g.key, c); hex.EncodeToString(got) != g.digests {
				t.Errorf("Of(%q, %q, %s) = %x, want %s", g.scope, g.key, g.payload, got, g.digests)
			}
		}
	}
}

// Equal values in two records, in two places, or of two stores have digests that tell nobody so. Where the scope ends and the key
// begins is no matter of opinion.
func TestEqualValuesDoNotShow(t *testing.T) {
	seen := map[string]string{}
	for _, secret := range [][32]byte{someSecret(), {}} {
		p := NewPaths(secret)
		for _, id := range [][2]string{{"", "k"}, {"", "l"}, {"s", "k"}, {"sk", ""}, {"", "sk"}, {"k", "s"}} {
			digests := p.Of(id[0], id[1], Canonicalize([]byte(`{"a":1250,"b":1250,"c":[1250,1250],"d":[1250,1250]}`)))
			for place := range slices.Chunk(digests, pathDigest) {
				where := fmt.Sprintf("%x %q", secret[31], id)
				if other, dup := seen[string(place)]; dup {
					t.Errorf("%s and %s have one digest", where, other)
				}
				seen[string(place)] = where
			}
		}
	}
	if len(seen) != 2*6*9 {
		t.Errorf("%d digests", len(seen))
	}
}

// long is a name that is just so long that its path is told, and longer one whose is not.
var long, longer = strings.Repeat("n", maxPointer-1), strings.Repeat("n", maxPointer)

// flat is an object with members named a to z.
func flat(changed string) string {
	members := make([]string, 26)
	for i := range members {
		name := string(rune('a' + i))
		members[i] = fmt.Sprintf("%q:%t", name, strings.Contains(changed, name))
	}
	return "{" + strings.Join(members, ",") + "}"
}

var differs = []struct {
	before, after string
	want          []string
}{
	{`{"amount":1250,"currency":"EUR"}`, `{"amount":1250,"currency":"EUR"}`, nil},
	{`{"amount":1250,"currency":"EUR"}`, ` { "currency" : "E\u0055R", "amount":1250 }`, nil},
	{`{"amount":1250,"currency":"EUR"}`, `{"amount":1251,"currency":"EUR"}`, []string{"/amount"}},
	{`{"amount":1250,"currency":"EUR"}`, `{"currency":"USD","amount":1251}`, []string{"/amount", "/currency"}},
	{`{"n":1.10}`, `{"n":1.1}`, []string{"/n"}}, // numbers as they are written
	{`{"n":1}`, `{"n":"1"}`, []string{"/n"}},
	{`{"n":null}`, `{"n":false}`, []string{"/n"}},
	// added
	{`{"a":1}`, `{"a":1,"b":2}`, []string{"/b"}},
	{`{}`, `{"a":1,"b":2}`, []string{"/a", "/b"}},
	{`{"o":{"a":1}}`, `{"o":{"a":1,"b":{"c":2,"d":3}}}`, []string{"/o/b/c", "/o/b/d"}},
	{`[1,2]`, `[1,2,3]`, []string{"/2"}},
	{`{"a":1}`, `{"a":1,"o":{}}`, []string{"/o"}},
	{`{"a":1}`, `{"a":1,"l":[]}`, []string{"/l"}},
	// taken out
	{`{"a":1,"b":2}`, `{"a":1}`, []string{""}},
	{`{"a":1,"o":{"b":2,"c":3}}`, `{"a":1,"o":{"b":2}}`, []string{"/o"}},
	{`{"l":[1,2,3]}`, `{"l":[1,2]}`, []string{"/l"}},
	{`{"l":[1,2,3]}`, `{"l":[2,3]}`, []string{"/l/0", "/l/1"}},
	{`{"o":{"a":1}}`, `{"o":{}}`, []string{"/o"}},
	{`{"o":{"a":1}}`, `{}`, []string{""}},
	{`{"a":1,"b":2}`, `{"a":3}`, []string{"/a"}}, // what can be told is told
	{`{"a":{"x":1,"y":2},"b":2}`, `{"a":{"x":1}}`, []string{"/a"}},
	// renamed
	{`{"amount":1}`, `{"amnt":1}`, []string{"/amnt"}},
	{`{"amount":1}`, `{"Amount":1}`, []string{"/Amount"}},
	// of another kind
	{`{"a":1}`, `{"a":{"b":1}}`, []string{"/a/b"}},
	{`{"a":{"b":1}}`, `{"a":1}`, []string{"/a"}},
	{`{"a":[1]}`, `{"a":{"0":1}}`, []string{"/a"}},
	{`{"a":{"0":1}}`, `{"a":[1]}`, []string{"/a"}},
	{`{"a":{}}`, `{"a":[]}`, []string{"/a"}},
	{`{"a":1}`, `[1]`, []string{"/0"}},
	{`{"a":1}`, `1`, nil},
	{`1`, `{"a":1}`, nil},
	{`1`, `2`, nil},
	{`{"a":1}`, `{"a":`, nil},
	// how paths are written
	{`{}`, `{"a/b~c":1}`, []string{"/a~1b~0c"}},
	{`{}`, `{"":{"":1}}`, []string{"//"}},
	{`{}`, `{"\u00e9 \u0022\u005c\u000a\u002f":1}`, []string{"/é \"\\\n~1"}},
	{`{}`, `{"\u0000":1}`, []string{"/\x00"}},
	{`{"l":[0,0,0,0,0,0,0,0,0,0,0]}`, `{"l":[0,0,0,0,0,0,0,0,0,0,1]}`, []string{"/l/10"}},
	{`{}`, `{"` + long + `":1}`, []string{"/" + long}},
	{`{}`, `{"` + longer + `":1}`, []string{""}},
	{`{"o":{"a":0}}`, `{"o":{"a":0,"` + longer + `":[1,2]}}`, []string{"/o"}},
	{`{"o":{"a":0}}`, `{"o":{"a":1,"` + longer + `":[1,2]}}`, []string{"/o/a"}},
	{`{"o":{"` + longer + `":0}}`, `{"o":{"` + longer + `":1}}`, []string{"/o"}},
	{`{"o":{"` + longer + `":1}}`, `{"o":{"` + longer + `":1}}`, nil},
	// more than there are digests of: known are {, and a to o
	{flat(""), flat("a"), []string{"/a"}},
	{flat(""), flat("an"), []string{"/a", "/n"}},
	{flat(""), flat("o"), []string{"/o"}},
	{flat(""), flat("no"), []string{"/n"}}, // a member more may have come before o
	{flat(""), flat("p"), nil},
	{flat(""), flat("az"), []string{"/a"}},
	{flat(""), flat("abcdefghijklmnopqrstuvwxyz"), []string{"/a"}},
	{flat(""), strings.Replace(flat(""), `"m"`, `"m0":1,"m"`, 1), []string{"/m0"}},
	{flat(""), strings.Replace(flat(""), `"p"`, `"o0":1,"p"`, 1), []string{""}}, // what came after o is not known
	{flat(""), strings.Replace(flat(""), `"b":false,`, ``, 1), []string{""}},
	{flat(""), `{"z":false}`, []string{""}}, // z is not known to have been there
	{count(15), count(14), []string{""}},
	{count(14), count(15), []string{"/14"}},
	{count(15), count(16), []string{""}}, // there may have been more than are known
	{count(16), count(15), []string{""}},
	// many that differ
	{`{}`, count(15), strings.Split("/0 /1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14", " ")},
	{`{}`, count(100), strings.Split("/0 /1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15", " ")},
}

func TestDiffer(t *testing.T) {
	p := NewPaths(someSecret())
	for _, d := range differs {
		digests := p.Of("s", "k", Canonicalize([]byte(d.before)))
		if got := p.Differ(digests, "s", "k", Canonicalize([]byte(d.after))); !slices.Equal(got, d.want) || len(d.want) == 0 && got != nil {
			t.Errorf("%s then %s: %q, want %q", d.before, d.after, got, d.want)
		}
	}
}

// Nothing is said of what is not four bytes for each of up to sixteen values: a later release may keep more, or otherwise.
func TestDigestsOfAnotherKind(t *testing.T) {
	p := NewPaths(someSecret())
	for _, n := range []int{0, 1, 3, 5, 63, 65, 68, 1 << 10} {
		if got := p.Differ(make([]byte, n), "", "k", Canonicalize([]byte(`{"a":1}`))); got != nil {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
}

// names holds some that are numbers, some that pointers escape and some that JSON does.
var names = []string{"a", "b", "amount", "", "0", "1", "10", "2", "11", "~", "/", "~1", "é", "\n\"\\", "\x00", "\u2028", "😀", "\ufb33"}

// draw makes a value up.
func draw(t *rapid.T, depth int) *node {
	kinds := `"0ntf{[{[`
	if depth == 0 {
		kinds = kinds[:5]
	}
	n := &node{kind: jsontext.Kind(rapid.SampledFrom([]byte(kinds)).Draw(t, "kind"))}
	switch n.kind {
	case '"':
		n.text = rapid.SampledFrom(names).Draw(t, "text")
	case '0':
		n.text = rapid.SampledFrom([]string{"0", "-0", "1", "1.0", "1250", "1e400"}).Draw(t, "number")
	case 'n', 't', 'f':
		n.text = map[jsontext.Kind]string{'n': "null", 't': "true", 'f': "false"}[n.kind]
	case '{':
		n.names = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 12, rapid.ID).Draw(t, "names")
		for range n.names {
			n.kids = append(n.kids, draw(t, depth-1))
		}
	case '[':
		for range rapid.IntRange(0, 12).Draw(t, "elements") {
			n.kids = append(n.kids, draw(t, depth-1))
		}
	}
	return n
}

// pointers returns the JSON Pointer of n, which is at, and of all that is in it, in the order of all.
func (n *node) pointers(at string, all []string) []string {
	all = append(all, at)
	for i, k := range n.kids {
		token := strconv.Itoa(i)
		if n.kind == '{' {
			token = strings.NewReplacer("~", "~0", "/", "~1").Replace(n.names[i])
		}
		all = k.pointers(at+"/"+token, all)
	}
	return all
}

// at returns what a pointer names in n, nil for nothing, and the kinds of what is around it.
func (n *node) at(pointer string) (named *node, around string) {
	if pointer == "" {
		return n, ""
	}
	tokens := strings.Split(pointer, "/")
	for _, token := range tokens[1:] {
		around += string(rune(n.kind))
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		i := slices.Index(n.names, name)
		if n.kind == '[' {
			i, _ = strconv.Atoi(token)
		}
		if i < 0 || i >= len(n.kids) {
			return nil, around
		}
		n = n.kids[i]
	}
	return n, around
}

// form is the canonical form of n.
func (n *node) form() string {
	r := rand.New(rand.NewPCG(1, 1))
	form, err := jsontext.AppendFormat(nil, respell(r, n), canonical...)
	if err != nil {
		panic(err)
	}
	return string(form)
}

// checkDiffer checks all that is promised of what differs between two payloads.
func checkDiffer(t interface {
	Helper()
	Errorf(format string, args ...any)
}, before, after []byte,
) {
	t.Helper()
	p := NewPaths(someSecret())
	digests := p.Of("s", "k", Canonicalize(before))
	got := p.Differ(digests, "s", "k", Canonicalize(after))
	if digests == nil || p.Of("s", "k", Canonicalize(after)) == nil {
		if got != nil {
			t.Errorf("%q then %q: %q though there is nothing to compare", before, after, got)
		}
		return
	}
	old, now := parse(before), parse(after)
	if len(got) > MaxPaths || got != nil && len(got) == 0 {
		t.Errorf("%q then %q: %d paths", before, after, len(got))
	}
	for i, pointer := range got {
		was, around := old.at(pointer)
		is, aroundNow := now.at(pointer)
		if is == nil || was != nil && around == aroundNow && was.form() == is.form() {
			t.Errorf("%q then %q: %q does not differ", before, after, pointer)
		}
		for _, other := range got[:i] {
			if pointer == other || strings.HasPrefix(pointer, other+"/") || strings.HasPrefix(other, pointer+"/") {
				t.Errorf("%q then %q: %q is told beside %q", before, after, pointer, other)
			}
		}
		if len(pointer) > maxPointer {
			t.Errorf("a path of %d bytes", len(pointer))
		}
	}
	// Where the first difference is among the values that there are digests of, something is told.
	was, is := parse([]byte(old.form())).all(nil), parse([]byte(now.form())).all(nil)
	first := 0
	for first < min(len(was), len(is)) && was[first].head() == is[first].head() {
		first++
	}
	if differ := first < max(len(was), len(is)); (got != nil) != (differ && first < MaxPaths) && !(first >= MaxPaths && differ) {
		t.Errorf("%q then %q: %q, the first difference being value %d", before, after, got, first)
	}
}

// head tells what n is, without what is in it.
func (n *node) head() string { return fmt.Sprintf("%q %q %q %d", n.kind, n.text, n.names, len(n.kids)) }

func TestDifferIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := draw(t, 3)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		before := respell(r, root)
		checkDiffer(t, []byte(before), []byte(respell(r, root)))
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			nodes := root.all(nil)
			*rapid.SampledFrom(nodes).Draw(t, "changed") = *draw(t, 2)
		}
		checkDiffer(t, []byte(before), []byte(respell(r, root)))
	})
}

// TestChangedScalarIsTold: where one scalar is another, that is told, exactly; or nothing, where there is no digest of it.
func TestChangedScalarIsTold(t *testing.T) {
	p := NewPaths(someSecret())
	rapid.Check(t, func(t *rapid.T) {
		root := draw(t, 3)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		digests := p.Of("s", "k", Canonicalize([]byte(respell(r, root))))
		if got := p.Differ(digests, "s", "k", Canonicalize([]byte(respell(r, root)))); got != nil {
			t.Fatalf("%q differ by spelling", got)
		}
		root = parse([]byte(root.form())) // in its order
		nodes, pointers := root.all(nil), root.pointers("", nil)
		var scalars []int
		for i, n := range nodes {
			if i > 0 && n.kind != '{' && n.kind != '[' {
				scalars = append(scalars, i)
			}
		}
		if len(scalars) == 0 {
			t.Skip("it has no scalar")
		}
		i := rapid.SampledFrom(scalars).Draw(t, "scalar")
		*nodes[i] = node{kind: '"', text: "another" + nodes[i].text}
		var want []string
		if i < MaxPaths {
			want = []string{pointers[i]}
		}
		if got := p.Differ(digests, "s", "k", Canonicalize([]byte(respell(r, root)))); !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// FuzzDiffer compares anything with anything.
func FuzzDiffer(f *testing.F) {
	for _, d := range differs {
		f.Add([]byte(d.before), []byte(d.after))
	}
	f.Fuzz(func(t *testing.T, before, after []byte) {
		checkDiffer(t, before, after)
		checkDiffer(t, before, before)
	})
}

func TestPathsDoNotModify(t *testing.T) {
	const payload = ` {"b": "\u0041", "a": [1.10, {"z":1,"y":2}]} `
	p, sent := NewPaths(someSecret()), []byte(payload)
	digests := p.Of("", "k", Canonicalize(sent))
	kept := string(digests)
	if p.Differ(digests, "", "k", Canonicalize(sent)); string(sent) != payload || string(digests) != kept {
		t.Fatalf("the payload became %s, the digests %x", sent, digests)
	}
	for i := range sent {
		sent[i] = 'x'
	}
	if got := p.Of("", "l", Canonicalize([]byte(payload))); string(got) == kept || string(digests) != kept {
		t.Error("digests share memory")
	}
}

func TestPathsConcurrent(t *testing.T) {
	p := NewPaths(someSecret())
	want := string(p.Of("", "k", Canonicalize([]byte(small))))
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				if string(p.Of("", "k", Canonicalize([]byte(small)))) != want || len(p.Differ([]byte(want), "", "k", Canonicalize([]byte(medium)))) == 0 {
					t.Fatal("payloads of concurrent calls mixed")
				}
			}
		})
	}
}

// Only the digests are allocated; 1 is for what a garbage collection takes from the pools.
func TestPathsAllocations(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	p, payload := NewPaths(someSecret()), Canonicalize([]byte(small))
	if n := testing.AllocsPerRun(1000, func() { p.Of("scope", "key", payload) }); n > 2 {
		t.Errorf("%v allocations for a small payload", n)
	}
}

// charge is a payload of 200 bytes with six members.
const charge = `{"amount": 1999, "currency": "EUR", "customer": "c_8123", "description": "two months of the large plan, renewed on the first of the month", "capture": true, "reference": "order-100042/7, of week 48"}`

func BenchmarkPaths(b *testing.B) {
	p := NewPaths(someSecret())
	for name, payload := range map[string]string{"charge": charge, "small": small, "medium": medium} {
		b.Run(name, func(b *testing.B) {
			form := Canonicalize([]byte(payload)) // which its fingerprint was made of
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				if p.Of("", "0190d4c2-7d3e-7b42-9d0e-7f5c4f1d2a3b", form) == nil {
					b.Fatal("no digests")
				}
			}
		})
	}
}
