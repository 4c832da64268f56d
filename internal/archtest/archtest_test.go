// Package archtest holds the repository to its architecture: which package may import which, and a few habits that a reader
// can rely on.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/atmost-dev/atmost"

// root stands for the package at the top of the module.
const root = "."

// mayImport lists the packages of this repository that a package may import, outside its tests; /* stands for one element
// of a path. A package that no row matches is an error: add the row together with the package, and think about it.
// Packages under internal/ are test tools and may import everything.
var mayImport = map[string][]string{
	"fingerprint":  {},
	root:           {"fingerprint"},
	"store/*":      {root, "fingerprint"},
	"upstream":     {root},
	"telemetry":    {root},
	"wire":         {root},
	"console":      {},
	"atmostclient": {root, "wire"},
	"atmosthttp":   {root, "fingerprint", "wire"},
	"server":       {root, "fingerprint", "upstream", "wire"},
	"gateway":      {root, "fingerprint", "upstream", "wire", "atmosthttp"},
	"atmosttest":   {root, "server", "store/memstore", "upstream", "wire"},
	"cmd/atmost":   {"*"}, // but internal/
	"examples/*/*": {"*"},
}

// thirdParty lists what these packages may import from other modules, because their importers get it too.
var thirdParty = map[string][]string{
	root:          {"golang.org/x/sys"},
	"fingerprint": {"github.com/go-json-experiment/json"},
}

// mayImportTesting are made for tests, though they are no tests themselves.
var mayImportTesting = []string{"store/storetest", "atmosttest"}

// meaningless are names of packages that say nothing about what is in them.
var meaningless = []string{"util", "utils", "common", "helper", "helpers"}

func TestRepository(t *testing.T) {
	findings, files := check(t, os.DirFS("../.."))
	for _, f := range findings {
		t.Error(f)
	}
	if files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
}

// check looks at every Go file of the module at the top of tree, whatever its build constraints.
func check(t *testing.T, tree fs.FS) (findings []string, files int) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skip(tree, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f := file{name: name, pkg: path.Dir(name), fset: token.NewFileSet()}
		if f.ast, err = parser.ParseFile(f.fset, name, src, parser.SkipObjectResolution); err != nil {
			return err
		}
		files++
		findings = append(findings, f.check()...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return findings, files
}

// skip leaves out what the go command does, and modules of their own.
func skip(tree fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	if base := path.Base(dir); base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

type file struct {
	name, pkg string
	fset      *token.FileSet
	ast       *ast.File
}

func (f file) check() (findings []string) {
	report := func(at ast.Node, format string, args ...any) {
		pos := f.fset.Position(at.Pos())
		findings = append(findings, fmt.Sprintf("%s:%d: ", f.name, pos.Line)+fmt.Sprintf(format, args...))
	}
	if slices.Contains(meaningless, path.Base(f.pkg)) || slices.Contains(meaningless, f.ast.Name.Name) {
		report(f.ast.Name, "the package's name says nothing")
	}
	if strings.HasSuffix(f.name, "_test.go") {
		f.checkSleep(report)
		return findings
	}
	f.checkInit(report)
	if !strings.HasPrefix(f.pkg, "internal/") {
		f.checkImports(report)
	}
	return findings
}

type reporter func(at ast.Node, format string, args ...any)

func (f file) checkImports(report reporter) {
	allowed, listed := allowedFor(f.pkg)
	if !listed {
		report(f.ast.Name, "package %s is not in the table of imports", f.pkg)
	}
	for _, spec := range f.ast.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		in, ours := inRepo(imported)
		switch {
		case ours && strings.HasPrefix(in, "internal/"):
			report(spec, "%s imports %s, which is for tests", f.pkg, in)
		case ours && !slices.Contains(allowed, in) && !slices.Contains(allowed, "*"):
			report(spec, "%s may not import %s", f.pkg, in)
		case !ours && !mayImportFrom(f.pkg, imported):
			report(spec, "%s may not import %s from outside", f.pkg, imported)
		case (imported == "testing" || strings.HasPrefix(imported, "testing/")) && !slices.Contains(mayImportTesting, f.pkg):
			report(spec, "%s imports %s and is no test", f.pkg, imported)
		}
	}
}

func allowedFor(pkg string) (allowed []string, listed bool) {
	for row, allowed := range mayImport {
		if ok, _ := path.Match(row, pkg); ok {
			return allowed, true
		}
	}
	return nil, false
}

// inRepo gives the path of a package of this module.
func inRepo(imported string) (string, bool) {
	if imported == module {
		return root, true
	}
	return strings.CutPrefix(imported, module+"/")
}

// mayImportFrom judges an import from outside this module.
func mayImportFrom(pkg, imported string) bool {
	list, limited := thirdParty[pkg]
	first, _, _ := strings.Cut(imported, "/")
	if !limited || !strings.Contains(first, ".") { // the standard library has no dot in its first element
		return true
	}
	return slices.ContainsFunc(list, func(mod string) bool {
		return imported == mod || strings.HasPrefix(imported, mod+"/")
	})
}

func (f file) checkInit(report reporter) {
	for _, decl := range f.ast.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			report(fn, "func init: what a package needs is passed to it")
		}
	}
}

// checkSleep reports time.Sleep in a test, but for time that synctest.Test makes up.
func (f file) checkSleep(report reporter) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && f.isUse(call.Fun, "testing/synctest", "Test") {
			return false
		}
		if expr, ok := n.(ast.Expr); ok && f.isUse(expr, "time", "Sleep") {
			report(expr, "time.Sleep in a test: wait for what happens, or use testing/synctest")
		}
		return true
	})
}

// isUse reports whether expr is name of the package imported, under whatever name it was.
func (f file) isUse(expr ast.Expr, imported, name string) bool {
	sel, ok := expr.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && slices.ContainsFunc(f.ast.Imports, func(spec *ast.ImportSpec) bool {
		local := path.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		return spec.Path.Value == strconv.Quote(imported) && local == x.Name
	})
}
