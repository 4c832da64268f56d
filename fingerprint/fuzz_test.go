package fingerprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzRespell spells a value in other ways: the fingerprint stays.
func FuzzRespell(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, payload []byte, seed uint64) {
		want, _, err := Of(JSON1, "op", payload)
		if err != nil {
			t.Skip()
		}
		r := rand.New(rand.NewPCG(seed, 0))
		respelt := respell(r, parse(payload))
		if got := mustOf(t, "op", respelt); got != want {
			t.Errorf("%s and %s differ", respelt, payload)
		}
	})
}

// FuzzChange changes one thing about a value: so does the fingerprint.
func FuzzChange(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, payload []byte, seed uint64) {
		before, _, err := Of(JSON1, "op", payload)
		if err != nil {
			t.Skip()
		}
		r := rand.New(rand.NewPCG(seed, 1))
		root := parse(payload)
		nodes := root.all(nil)
		what := nodes[r.IntN(len(nodes))].change(r)
		changed := respell(r, root)
		if mustOf(t, "op", changed) == before {
			t.Errorf("%s: %s and %s have one fingerprint", what, changed, payload)
		}
	})
}

// FuzzCanonical feeds anything: what has a canonical form has that of its canonical form, and is JSON.
func FuzzCanonical(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, payload []byte, _ uint64) {
		sent := bytes.Clone(payload)
		fp, _, err := Of(JSON1, "op", payload)
		if !bytes.Equal(sent, payload) {
			t.Fatalf("%q became %q", sent, payload)
		}
		form, formErr := jsontext.AppendFormat(nil, payload, canonical...)
		if (err == nil) != (formErr == nil) {
			t.Fatalf("Of: %v, but its canonical form: %v", err, formErr)
		}
		if err != nil {
			if !errors.Is(err, ErrInvalidPayload) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(payload) {
			t.Fatalf("accepted %q", payload)
		}
		again, _ := jsontext.AppendFormat(nil, form, canonical...)
		if !bytes.Equal(again, form) || mustOf(t, "op", string(form)) != fp {
			t.Fatalf("the canonical form of %q is %q, its own is %q", payload, form, again)
		}
	})
}

func seed(f *testing.F) {
	for i, g := range golden {
		f.Add([]byte(g.payload), uint64(i))
	}
	for i, p := range []string{
		small, `-1.5E-10`, `[1,[2,[3,[4]]]]`, `{"":{"":{"":0}}}`, `"\ud83d\ude00\u0000\u2029/"`, `{"a":1,"a":2}`, `{"z":[{"b":1,"a":"x"}],"y":-0}`,
		"\"\xff\"", `[`, `1 2`, `"\ud800"`, `[true,false,null,"",0]`,
	} {
		f.Add([]byte(p), uint64(100+i))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		f.Add([]byte(respell(r, random(r, 4))), uint64(200+i))
	}
}

// node is a JSON value with its members in order.
type node struct {
	kind  jsontext.Kind
	text  string   // a string's characters, a number's or literal's spelling
	names []string // of an object's kids
	kids  []*node
}

// parse reads valid JSON.
func parse(payload []byte) *node {
	return read(jsontext.NewDecoder(bytes.NewReader(payload)))
}

func read(d *jsontext.Decoder) *node {
	tok, err := d.ReadToken()
	if err != nil {
		panic(err)
	}
	n := &node{kind: tok.Kind(), text: tok.String()}
	if n.kind != '{' && n.kind != '[' {
		return n
	}
	for d.PeekKind() != '}' && d.PeekKind() != ']' {
		if n.kind == '{' {
			name, _ := d.ReadToken()
			n.names = append(n.names, name.String())
		}
		n.kids = append(n.kids, read(d))
	}
	_, _ = d.ReadToken()
	return n
}

// random makes a value up.
func random(r *rand.Rand, depth int) *node {
	kinds := `"0ntf{[{[`
	if depth == 0 {
		kinds = kinds[:5]
	}
	n := &node{kind: jsontext.Kind(kinds[r.IntN(len(kinds))])}
	switch n.kind {
	case '"':
		n.text = randomText(r)
	case '0':
		n.text = []string{"0", "-0", "10", "-1.50", "1e400", "9007199254740993", "2E-7", "1.0"}[r.IntN(8)]
	case 'n', 't', 'f':
		n.text = map[jsontext.Kind]string{'n': "null", 't': "true", 'f': "false"}[n.kind]
	default:
		for i := range r.IntN(5) {
			n.kids = append(n.kids, random(r, depth-1))
			n.names = append(n.names, fmt.Sprint(randomText(r), i))
		}
	}
	return n
}

func randomText(r *rand.Rand) string {
	chars := []rune("aB0 \"\\/\b\n\x00\x7fé€\u2028\ufeff\ufb33😀")
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteRune(chars[r.IntN(len(chars))])
	}
	return b.String()
}

func (n *node) all(nodes []*node) []*node {
	nodes = append(nodes, n)
	for _, k := range n.kids {
		nodes = k.all(nodes)
	}
	return nodes
}

// change makes n another value, and says how.
func (n *node) change(r *rand.Rand) string {
	if r.IntN(4) == 0 { // the same text, of another type
		if n.kind == '"' {
			*n = node{kind: '[', kids: []*node{{kind: '"', text: n.text}}}
			return "wrap"
		}
		*n = node{kind: '"', text: n.text}
		return "quote"
	}
	switch n.kind {
	case '"':
		n.text += string(rune('a' + r.IntN(26)))
		return "longer string"
	case '0':
		return n.changeNumber(r)
	case '{':
		return n.changeObject(r)
	case '[':
		n.kids = append(n.kids, &node{kind: 'n', text: "null"})
		return "longer array"
	default:
		*n = node{kind: '0', text: "0"}
		return "zero for literal"
	}
}

// changeNumber changes one character of a number, or adds one.
func (n *node) changeNumber(r *rand.Rand) string {
	at := r.IntN(len(n.text))
	c := n.text[at]
	var with string
	switch {
	case c == '-':
		with = ""
	case c == 'e':
		with = "E"
	case c == 'E':
		with = "e"
	case '1' <= c && c <= '8': // never to a leading zero
		with = string(c + 1)
	case c == '9':
		with = "8"
	default: // a zero, a point or a plus sign: one digit more, or one that does not count
		n.text = map[bool]string{true: n.text + "0", false: n.text + "e0"}[strings.ContainsAny(n.text, ".eE")]
		return "number longer"
	}
	n.text = n.text[:at] + with + n.text[at+1:]
	return "number's character"
}

func (n *node) changeObject(r *rand.Rand) string {
	long := "x" // longer than the others, so unlike each
	for _, name := range n.names {
		long += name
	}
	if len(n.kids) == 0 || r.IntN(2) == 0 {
		n.names = append(n.names, long)
		n.kids = append(n.kids, &node{kind: 'n', text: "null"})
		return "member more"
	}
	i := r.IntN(len(n.kids))
	if r.IntN(2) == 0 {
		n.names[i] = long
		return "member renamed"
	}
	n.names = append(n.names[:i:i], n.names[i+1:]...)
	n.kids = append(n.kids[:i:i], n.kids[i+1:]...)
	return "member less"
}

// respell writes n with random white space, order of members, and escapes.
func respell(r *rand.Rand, n *node) string {
	var b strings.Builder
	space := func() {
		for r.IntN(3) == 0 {
			b.WriteByte(" \t\r\n"[r.IntN(4)])
		}
	}
	var write func(n *node)
	write = func(n *node) {
		space()
		switch n.kind {
		case '"':
			writeString(r, &b, n.text)
		case '{', '[':
			b.WriteByte(byte(n.kind))
			order := r.Perm(len(n.kids))
			for i := range order {
				if i > 0 {
					b.WriteByte(',')
				}
				if n.kind == '[' {
					write(n.kids[i])
					continue
				}
				space()
				writeString(r, &b, n.names[order[i]])
				space()
				b.WriteByte(':')
				write(n.kids[order[i]])
			}
			space()
			b.WriteByte(byte(n.kind) + 2) // the closing one, in ASCII
		default:
			b.WriteString(n.text)
		}
		space()
	}
	write(n)
	return b.String()
}

func writeString(r *rand.Rand, b *strings.Builder, s string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	b.WriteByte('"')
	for _, c := range s {
		bare := c >= 0x20 && c != '"' && c != '\\'
		switch esc, hasShort := short[c]; {
		case bare && r.IntN(2) == 0:
			b.WriteRune(c)
		case hasShort && r.IntN(2) == 0:
			b.WriteString(esc)
		default:
			format := []string{`\u%04x`, `\u%04X`}[r.IntN(2)]
			for _, u := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(b, format, u)
			}
		}
	}
	b.WriteByte('"')
}
