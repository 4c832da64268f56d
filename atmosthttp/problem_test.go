package atmosthttp_test

import (
	"os"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// Each type of problem is the address of a section of the documentation, and each code has its own.
func TestProblemTypesAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, code := range append(atmost.Codes(), atmosthttp.Processing, atmosthttp.NoAnswer) {
		address, section, _ := strings.Cut(atmosthttp.ProblemType(code), "#")
		if address != "https://github.com/atmost-dev/atmost/blob/main/docs/problems.md" || !strings.Contains(string(data), "\n## "+section+"\n\n") {
			t.Errorf("%s is not documented as %s#%s", code, address, section)
		}
		if seen[section] {
			t.Errorf("%s has the type of another", code)
		}
		seen[section] = true
	}
}
