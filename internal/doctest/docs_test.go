package doctest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentation holds README.md and docs/ to the files that they quote and link.
func TestDocumentation(t *testing.T) {
	for _, f := range check(t, os.DirFS("../..")) {
		t.Error(f)
	}
}

// check looks at README.md and all of docs/ in tree.
func check(t *testing.T, tree fs.FS) (findings []string) {
	t.Helper()
	var names []string
	err := fs.WalkDir(tree, "docs", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	pages := map[string]*page{}
	for _, name := range append([]string{"README.md"}, names...) {
		if path.Ext(name) != ".md" {
			continue
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			findings = append(findings, err.Error())
			continue
		}
		pages[name] = parse(name, string(src))
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		p := pages[name]
		findings = append(findings, p.findings...)
		for _, q := range p.quotes {
			if f := q.check(tree); f != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %s", name, q.line, f))
			}
		}
		for _, l := range p.links {
			if f := l.check(tree, pages, name); f != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %s", name, l.line, f))
			}
		}
	}
	reached := reach(tree, pages)
	for _, name := range names {
		if !reached[name] {
			findings = append(findings, name+": no chain of links leads here from README.md")
		}
	}
	return findings
}

// page is what is looked at in a Markdown file.
type page struct {
	quotes   []quote
	links    []link
	anchors  []string
	findings []string
}

// quote is a fenced block that has to be a file, or a region of one.
type quote struct {
	line         int // of the comment
	file, region string
	text         string
}

type link struct {
	line   int
	target string
}

var (
	fenceLine = regexp.MustCompile("^ {0,3}(`{3,}|~{3,})([^`]*)$")
	fromLine  = regexp.MustCompile(`^<!-- from: ([^\s#]+)(?:#([\w-]+))? -->$`)
	likeFrom  = regexp.MustCompile(`^\s*<!--+\s*from\b`)
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}\s+(.*?)\s*#*$`)
	codeSpan  = regexp.MustCompile("(`+)[^`]+?(`+)")
	inline    = regexp.MustCompile(`\]\(\s*<?([^()<>\s]*(?:\([^()\s]*\)[^()<>\s]*)*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)`)
	reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:\s+<?([^<>\s]+)>?`)
	linkText  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

func parse(name, src string) *page {
	p := new(page)
	lines := strings.Split(src, "\n")
	var pending *quote // its block is to follow
	report := func(line int, format string, args ...any) {
		p.findings = append(p.findings, fmt.Sprintf("%s:%d: ", name, line)+fmt.Sprintf(format, args...))
	}
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSuffix(lines[i], "\r")
		fence := fenceLine.FindStringSubmatch(line)
		if pending != nil && fence == nil {
			if line == "" {
				continue
			}
			report(pending.line, "no fenced block follows this comment")
			pending = nil
		}
		switch {
		case fence != nil:
			begin := i
			for i++; i < len(lines) && !closes(lines[i], fence[1]); i++ {
			}
			if i == len(lines) {
				report(begin+1, "this fenced block has no end")
			}
			if pending != nil {
				pending.text = strings.Join(append(slices.Clone(lines[begin+1:min(i, len(lines))]), ""), "\n")
				p.quotes = append(p.quotes, *pending)
				pending = nil
			}
		case likeFrom.MatchString(line):
			m := fromLine.FindStringSubmatch(line)
			if m == nil {
				report(i+1, "%s: the form is <!-- from: path --> or <!-- from: path#region -->, the path from the top of the repository", line)
				continue
			}
			pending = &quote{line: i + 1, file: m[1], region: m[2]}
		default:
			if m := heading.FindStringSubmatch(line); m != nil {
				p.anchors = append(p.anchors, anchor(m[1], p.anchors))
			}
			line = codeSpan.ReplaceAllString(line, "")
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				p.links = append(p.links, link{i + 1, m[1]})
			}
			if m := reference.FindStringSubmatch(line); m != nil {
				p.links = append(p.links, link{i + 1, m[1]})
			}
		}
	}
	if pending != nil {
		report(pending.line, "no fenced block follows this comment")
	}
	return p
}

func closes(line, fence string) bool {
	line = strings.TrimRight(line, " \t\r")
	indent := len(line) - len(strings.TrimLeft(line, " "))
	line = line[indent:]
	return indent <= 3 && len(line) >= len(fence) && strings.Trim(line, fence[:1]) == ""
}

// anchor is what GitHub calls a heading, given those before it.
func anchor(text string, before []string) string {
	text = linkText.ReplaceAllString(text, "$1")
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, text)
	name := text
	for n := 1; slices.Contains(before, name); n++ {
		name = fmt.Sprintf("%s-%d", text, n)
	}
	return name
}

// check compares the block with the file.
func (q quote) check(tree fs.FS) string {
	src, err := fs.ReadFile(tree, q.file)
	if err != nil {
		return fmt.Sprintf("the block is said to be from %s: %v", q.file, err)
	}
	want, err := excerpt(string(src), q.region)
	if err != nil {
		return fmt.Sprintf("%s: %v", q.file, err)
	}
	if want == q.text {
		return ""
	}
	what := q.file
	if q.region != "" {
		what = "region " + q.region + " of " + what
	}
	return fmt.Sprintf("the block is not %s (-file +block):\n%s\nThe block must be:\n%s", what, cmp.Diff(lines(want), lines(q.text)), want)
}

func lines(s string) []string { return strings.SplitAfter(s, "\n") }

// excerpt returns the lines between the one that contains "region NAME" and the next one that contains "endregion"; all if
// there is no name.
func excerpt(src, region string) (string, error) {
	if region == "" {
		if src != "" && !strings.HasSuffix(src, "\n") {
			src += "\n"
		}
		return src, nil
	}
	begins := regexp.MustCompile(`\bregion ` + regexp.QuoteMeta(region) + `(?:[^\w-]|$)`)
	var text strings.Builder
	inside, found := false, 0
	for _, line := range strings.SplitAfter(src, "\n") {
		switch {
		case inside && strings.Contains(line, "endregion"):
			inside = false
		case inside:
			text.WriteString(line)
		case begins.MatchString(strings.TrimRight(line, "\r\n")):
			inside = true
			found++
		}
	}
	switch {
	case found == 0:
		return "", fmt.Errorf("no line contains %q", "region "+region)
	case found > 1:
		return "", fmt.Errorf("%d lines contain %q", found, "region "+region)
	case inside:
		return "", fmt.Errorf("region %s has no end: no line with \"endregion\" follows", region)
	}
	// An empty line before a mark is for the eye.
	return strings.Trim(text.String(), "\n") + "\n", nil
}

// resolve gives the path and the fragment of a link, and whether it leads into the repository.
func (l link) resolve(from string) (name, fragment string, inside bool) {
	u, err := url.Parse(l.target)
	if err != nil || u.Scheme != "" || u.Host != "" {
		return "", "", err != nil
	}
	if u.Path == "" {
		return from, u.Fragment, true
	}
	return path.Join(path.Dir(from), u.Path), u.Fragment, true
}

func (l link) check(tree fs.FS, pages map[string]*page, from string) string {
	name, fragment, inside := l.resolve(from)
	if !inside {
		return ""
	}
	if path.IsAbs(l.target) || !fs.ValidPath(name) {
		return fmt.Sprintf("the link %s leads out of the repository", l.target)
	}
	if _, err := fs.Stat(tree, name); err != nil {
		return fmt.Sprintf("the link %s is broken: there is no %s", l.target, name)
	}
	if p := pages[name]; p != nil && fragment != "" && !slices.Contains(p.anchors, fragment) {
		return fmt.Sprintf("the link %s is broken: the headings of %s are #%s", l.target, name, strings.Join(p.anchors, " #"))
	}
	return ""
}

// reach follows the links from README.md. One to a directory reaches its README.md, or else the files in it.
func reach(tree fs.FS, pages map[string]*page) map[string]bool {
	reached := map[string]bool{}
	queue := []string{"README.md"}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if reached[name] || !fs.ValidPath(name) {
			continue
		}
		reached[name] = true
		if entries, err := fs.ReadDir(tree, name); err == nil && name != "." {
			if _, err := fs.Stat(tree, path.Join(name, "README.md")); err == nil {
				entries = nil
				queue = append(queue, path.Join(name, "README.md"))
			}
			for _, e := range entries {
				if !e.IsDir() {
					queue = append(queue, path.Join(name, e.Name()))
				}
			}
		}
		if p := pages[name]; p != nil {
			for _, l := range p.links {
				if to, _, inside := l.resolve(name); inside {
					queue = append(queue, to)
				}
			}
		}
	}
	return reached
}

func TestCheck(t *testing.T) {
	const code = "package x\n\n// region a\n\nfunc a() {}\n\n// endregion\n// region ab\nfunc ab() {}\n// endregion\n"
	good := map[string]string{
		"README.md": "# A *title*, and `code`\n<!-- from: x.go -->\n```go\n" + code + "```\nSee [docs](docs/a.md \"title\"), [here](#a-title-and-code) and [b][b], `[no](link)`.\n" +
			"\n[b]: docs/deep\n\n~~~\n[no](link)\n~~~\n[out](https://example.com/x) ![image](docs/i.svg) [down](#twice-1)\n# Twice\n# Twice\n",
		"docs/a.md":         "<!-- from: x.go#a -->\n\n````\nfunc a() {}\n````\n<!-- from: x.go#ab -->\n```\nfunc ab() {}\n```\n[up](../README.md#twice) [code](../x.go) [dir](..)\n",
		"docs/deep/b.md":    "B",
		"docs/deep/.hidden": "",
		"docs/i.svg":        "<svg/>",
		"x.go":              code,
	}
	for name, c := range map[string]struct {
		file, old, new string
		want           []string // what each finding contains
	}{
		"good":             {},
		"other block":      {"docs/a.md", "func a() {}", "func a() { }", []string{"docs/a.md:1: the block is not region a of x.go"}},
		"the wanted block": {"docs/a.md", "func a() {}", "", []string{"The block must be:\nfunc a() {}\n"}},
		"white space":      {"README.md", "func a() {}\n", "func a() {} \n", []string{"README.md:2: the block is not x.go"}},
		"no file":          {"README.md", "from: x.go", "from: y.go", []string{"README.md:2: the block is said to be from y.go"}},
		"no region":        {"docs/a.md", "#ab", "#abc", []string{`docs/a.md:6: x.go: no line contains "region abc"`}},
		"region twice":     {"x.go", "region ab", "region a", []string{"README.md:2", `2 lines contain "region a"`, `no line contains "region ab"`}},
		"region, no end":   {"x.go", "{}\n// endregion\n", "{}\n", []string{"README.md:2", "region ab has no end"}},
		"no block":         {"docs/a.md", "-->\n\n````", "-->\nx\n````", []string{"docs/a.md:1: no fenced block follows"}},
		"no block at end":  {"docs/deep/b.md", "B", "<!-- from: x.go -->\n", []string{"docs/deep/b.md:1: no fenced block follows"}},
		"mistyped":         {"docs/a.md", "<!-- from: x.go#ab", "<!-- from x.go#ab", []string{"docs/a.md:6: <!-- from x.go#ab -->: the form is"}},
		"open fence":       {"docs/deep/b.md", "B", "```\nB", []string{"docs/deep/b.md:1: this fenced block has no end"}},
		"broken link":      {"docs/a.md", "../x.go", "x.go", []string{"docs/a.md:10: the link x.go is broken: there is no docs/x.go"}},
		"broken reference": {"README.md", "docs/deep", "deep", []string{"README.md:17: the link deep is broken", "docs/deep/b.md: no chain of links"}},
		"broken anchor":    {"docs/a.md", "#twice", "#thrice", []string{"the headings of README.md are #a-title-and-code #twice #twice-1"}},
		"broken own":       {"README.md", "(#twice-1", "(#twice-2", []string{"README.md:22: the link #twice-2 is broken"}},
		"out":              {"docs/a.md", "../x.go", "../../x.go", []string{"leads out of the repository"}},
		"absolute":         {"docs/a.md", "../x.go", "/x.go", []string{"leads out of the repository"}},
		"not reached":      {"README.md", "![image](docs/i.svg)", "", []string{"docs/i.svg: no chain of links"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for file, src := range good {
				tree[file] = &fstest.MapFile{Data: []byte(src)}
			}
			if c.file != "" {
				if !bytes.Contains(tree[c.file].Data, []byte(c.old)) {
					t.Fatalf("%s has no %q", c.file, c.old)
				}
				tree[c.file].Data = bytes.Replace(tree[c.file].Data, []byte(c.old), []byte(c.new), 1)
			}
			got := check(t, tree)
			if len(got) != len(c.want) {
				t.Fatalf("%d findings, not %d:\n%s", len(got), len(c.want), strings.Join(got, "\n"))
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("finding %q does not contain %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestNoReadme(t *testing.T) {
	if got := check(t, fstest.MapFS{}); len(got) != 1 || !strings.Contains(got[0], "README.md") {
		t.Errorf("the findings are %q", got)
	}
}
