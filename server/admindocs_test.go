package server_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	documented = regexp.MustCompile(`(?s)^curl -s ['"]?http://127\.0\.0\.1:8081/admin/v1(/[^'"\s]*)['"]?(?: -H 'Content-Type: application/json' \\\n  -d '([^']*)')?\n$`)
)

// What docs/admin-api.md says to send is answered 200, in the order in which it says it.
func TestDocumentedRequests(t *testing.T) {
	data, err := os.ReadFile("../docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	s, o := operated(t, config{operations: map[string]atmost.Operation{"payment.charge": {Executor: silent}}})
	s.check(s.execute("order-1", `{"operation":"payment.charge","payload":{"amount":4200,"currency":"EUR"}}`), isUnknown())
	id := wire.AdminID(atmost.ID{Key: "order-1"})
	used := map[string]bool{}
	for _, block := range shellBlock.FindAllStringSubmatch(string(data), -1) {
		m := documented.FindStringSubmatch(block[1])
		if m == nil {
			t.Errorf("no request is recognised in:\n%s", block[1])
			continue
		}
		path := strings.ReplaceAll(m[1], "$ID", id)
		s.clock.Advance(time.Second)
		var a answer
		if m[2] == "" {
			a = o.get(path, 200)
		} else {
			a = o.change(path, m[2], 200)
		}
		if strings.HasSuffix(path, "/compare") && a.body != `{"same":true,"same_operation":true}` {
			t.Errorf("the comparison is %s", a.body)
		}
		r, _ := http.NewRequest(http.MethodGet, "/admin/v1"+path, nil)
		used[recordPath.ReplaceAllString(r.URL.Path, "/admin/v1/keys/{id}$2")] = true
	}
	for path := range o.contract.doc.Paths.Map() {
		if !used[path] && path != "/admin/v1/openapi.yaml" {
			t.Errorf("there is no example of %s", path)
		}
	}
}
