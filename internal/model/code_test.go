package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	row    = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (`[^|]+`) \\| `(\\w+\\.go)` \\|$")
	quoted = regexp.MustCompile("`([^`]+)`")
	count  = regexp.MustCompile(`The model has (\d+) defects`)
)

// TestTheStepsAreThoseOfTheCode holds the table in docs/model.md to the model and to the code.
func TestTheStepsAreThoseOfTheCode(t *testing.T) {
	page, model := read(t, "../../docs/model.md"), read(t, "atmost.pml")
	rows := row.FindAllStringSubmatch(page, -1)
	if len(rows) < 15 {
		t.Errorf("%d rows were found", len(rows))
	}
	for _, r := range rows {
		step, functions, file := r[1], r[2], r[3]
		if !regexp.MustCompile(`(?m)^(inline |proctype )?` + step + `[(:]`).MatchString(model) {
			t.Errorf("the model has no step %s", step)
		}
		declared := declarations(t, file)
		for _, f := range quoted.FindAllStringSubmatch(functions, -1) {
			if !declared[f[1]] {
				t.Errorf("%s: %s has no %s", step, file, f[1])
			}
		}
	}
	if m := count.FindStringSubmatch(page); m == nil || m[1] != strconv.Itoa(len(defects)) {
		t.Errorf("the page does not say that there are %d defects", len(defects))
	}
}

// TestEverySwitchIsUsed holds the model's macros to the tests: a defect that nobody plants shows nothing.
func TestEverySwitchIsUsed(t *testing.T) {
	used := "ANY_OPERATOR RETRY"
	for defect := range defects {
		used += " " + defect
	}
	for _, m := range regexp.MustCompile(`#ifn?def ([A-Z_]{4,})|defined\(([A-Z_]+)\)`).FindAllStringSubmatch(read(t, "atmost.pml"), -1) {
		name := m[1] + m[2]
		if bound := regexp.MustCompile(`#define ` + name + ` \d`).MatchString(read(t, "atmost.pml")); !bound && !strings.Contains(" "+used+" ", " "+name+" ") {
			t.Errorf("nobody sets %s", name)
		}
	}
}

// declarations returns what a file of the root package declares: functions, Type.method, and variables.
func declarations(t *testing.T, file string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[receiver(d)+d.Name.Name] = true
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok {
					for _, n := range v.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	return typ.(*ast.Ident).Name + "."
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
