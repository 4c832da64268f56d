package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The checks must be able to fail: each file below breaks one rule, or none.
func TestCheck(t *testing.T) {
	const m = `"github.com/atmost-dev/atmost`
	cases := map[string]struct{ src, want string }{
		"a.go":                       {`package atmost; import (_ ` + m + `/fingerprint"; _ "golang.org/x/sys/unix"; _ "net/http")`, ""},
		"b.go":                       {`package atmost; import _ ` + m + `/wire"`, ". may not import wire"},
		"c.go":                       {`package atmost; import _ "golang.org/x/sync/errgroup"`, "may not import golang.org/x/sync/errgroup from outside"},
		"d.go":                       {`package atmost; import _ "golang.org/x/system"`, "from outside"},
		"e.go":                       {`package atmost; import _ ` + m + `/internal/x"`, "imports internal/x, which is for tests"},
		"f.go":                       {`package atmost; import _ "testing"`, "imports testing and is no test"},
		"g.go":                       {`package atmost; import _ "testing/synctest"`, "is no test"},
		"h_windows.go":               {`package atmost; func init() {}`, "func init"},
		"i.go":                       {`package atmost; type t int; func (t) init() {}`, ""},
		"fingerprint/a.go":           {`package fingerprint; import _ ` + m + `"`, "may not import ."},
		"fingerprint/b.go":           {`package fingerprint; import _ "github.com/go-json-experiment/json/jsontext"`, ""},
		"fingerprint/c.go":           {`package fingerprint; import _ "github.com/dunglas/httpsfv"`, "from outside"},
		"store/x/a.go":               {`package x; import (_ ` + m + `"; _ "github.com/jackc/pgx/v5")`, ""},
		"store/x/b.go":               {`package x; import _ ` + m + `/fingerprint"`, ""},
		"store/x/d.go":               {`package x; import _ ` + m + `/wire"`, "may not import wire"},
		"store/x/c.go":               {`package x; import _ ` + m + `/store/memstore"`, "may not import store/memstore"},
		"store/x/y/a.go":             {`package y`, "store/x/y is not in the table"},
		"store/a.go":                 {`package store`, "store is not in the table"},
		"store/storetest/a.go":       {`package storetest; import _ "testing"`, ""},
		"store/storetest/b.go":       {`package storetest; import _ ` + m + `/internal/simtest"`, "which is for tests"},
		"server/a.go":                {`package server; import (_ ` + m + `/upstream"; _ ` + m + `/wire")`, ""},
		"server/b.go":                {`package server; import _ ` + m + `/gateway"`, "may not import gateway"},
		"server/c.go":                {`package server; import _ "testing/fstest"`, "is no test"},
		"gateway/a.go":               {`package gateway; import _ ` + m + `/atmosthttp"`, ""},
		"cmd/atmost/a.go":            {`package main; import _ ` + m + `/store/pgstore"`, ""},
		"cmd/atmost/b.go":            {`package main; import _ ` + m + `/internal/simtest"`, "which is for tests"},
		"cmd/other/a.go":             {`package main`, "cmd/other is not in the table"},
		"newcomer/a.go":              {`package newcomer`, "newcomer is not in the table"},
		"internal/simtest/a.go":      {`package simtest; import (_ "testing"; _ ` + m + `/cmd/atmost")`, ""},
		"internal/simtest/b.go":      {`package simtest; func init() {}`, "func init"},
		"internal/util/a.go":         {`package util`, "says nothing"},
		"internal/odd/a.go":          {`package helpers`, "says nothing"},
		"wire/a_test.go":             {`package wire; import (_ ` + m + `/server"; _ ` + m + `/internal/x"); func init() {}`, ""},
		"wire/b_test.go":             {`package wire; import "time"; func f() { time.Sleep(1) }`, "time.Sleep in a test"},
		"wire/c_test.go":             {`package wire; import tick "time"; var f = tick.Sleep`, "time.Sleep in a test"},
		"wire/d_test.go":             {`package wire; import ("testing/synctest"; "time"); func f() { synctest.Test(nil, func() { time.Sleep(1) }) }`, ""},
		"wire/e_test.go":             {`package wire; import ("testing/synctest"; "time"); func f() { synctest.Wait(); time.Sleep(1) }`, "time.Sleep"},
		"wire/f_test.go":             {`package wire; type c struct{}; func (c) Sleep(int) {}; func f(time c) { time.Sleep(1) }`, ""},
		"internal/simtest/a_test.go": {`package simtest; import "time"; func f() { time.Sleep(1) }`, "time.Sleep"},
		"wire/testdata/a.go":         {`package common; func init() {}`, ""},
		"_old/a.go":                  {`package common; func init() {}`, ""},
		".ci/a.go":                   {`package common; func init() {}`, ""},
		"bench/a.go":                 {`package common; func init() {}`, ""},
		"bench/deep/a.go":            {`package common; func init() {}`, ""},
	}
	tree := fstest.MapFS{"bench/go.mod": {Data: []byte("module m")}, "README.md": {}}
	for name, c := range cases {
		tree[name] = &fstest.MapFile{Data: []byte(c.src)}
	}
	findings, _ := check(t, tree)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		var got []string
		for _, f := range findings {
			if strings.HasPrefix(f, name+":1: ") {
				got = append(got, f)
			}
		}
		want := cases[name].want
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
