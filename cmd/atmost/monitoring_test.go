package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/atmost-dev/atmost/internal/debian"
	"github.com/atmost-dev/atmost/internal/skip"
)

// alert is a rule of Prometheus.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alerts reads those that are shipped.
func alerts(t *testing.T) (all []alert) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// usable fails the test unless the metrics of an expression are there, with the labels that it asks for. What metrics there are is
// in docs/observability.md, which another test holds to the program.
func usable(t *testing.T, where, expr string, there map[string]shape) {
	t.Helper()
	metric := regexp.MustCompile(`(atmost_[a-z_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+)(?:=~?|!=)"`)
	found := metric.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 && !strings.HasPrefix(expr, "up{") {
		t.Errorf("%s asks for nothing: %s", where, expr)
	}
	for _, m := range found {
		name := m[1]
		s, ok := there[name]
		if !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, cut := strings.CutSuffix(name, suffix); cut && there[base].kind == "histogram" {
					s, ok = there[base], true
				}
			}
		} else if s.kind == "histogram" {
			ok = false // it has no series of that name
		}
		if !ok {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "instance" && l[1] != "le" && !slices.Contains(strings.Split(s.labels, ", "), l[1]) {
				t.Errorf("%s: %s has no label %s, but %s", where, name, l[1], s.labels)
			}
		}
	}
}

// TestAlerts: each asks for what there is, says what it is about, and has a runbook; each runbook has an alert.
func TestAlerts(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^## (\S+)$`).FindAllStringSubmatch(string(page), -1) {
		sections = append(sections, m[1])
	}
	there := documented(t)
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		usable(t, a.Alert, a.Expr, there)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s does not say what it is: %+v", a.Alert, a)
		}
		const runbooks = "https://github.com/atmost-dev/atmost/blob/main/docs/runbooks.md#"
		if got := a.Annotations["runbook_url"]; got != runbooks+strings.ToLower(a.Alert) {
			t.Errorf("the runbook of %s is at %s", a.Alert, got)
		}
	}
	if !slices.Equal(names, sections) {
		t.Errorf("there are the alerts\n%v and the runbooks\n%v", names, sections)
	}
}

// TestRunbooks: what they have people type are commands of this program, with flags that these have.
func TestRunbooks(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	root := rootCommand(process{env: func(string) (string, bool) { return "", false }})
	typed := regexp.MustCompile("(?m)(?:^|`)atmost ([a-z][^\n`|]*)").FindAllStringSubmatch(string(page), -1)
	if len(typed) < 15 {
		t.Errorf("%d commands are recognised", len(typed))
	}
	for _, m := range typed {
		command, rest, err := root.Find(strings.Fields(m[1]))
		if err != nil || command == root {
			t.Errorf("atmost %s: %v", m[1], err)
			continue
		}
		command.InitDefaultHelpFlag()
		for _, word := range rest {
			if name, flag := strings.CutPrefix(word, "--"); flag && command.Flag(name) == nil {
				t.Errorf("atmost %s: there is no flag --%s", m[1], name)
			}
		}
	}
}

// TestDashboard: each panel asks for what there is, and everything that is told to be watched is on it.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/atmost.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	there, ids, places := documented(t), map[int]bool{}, map[string]string{}
	var asked strings.Builder
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if at := fmt.Sprint(p.GridPos.X, p.GridPos.Y); places[at] != "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is where %s is, or beyond the edge: %+v", p.Title, places[at], p.GridPos)
		} else {
			places[at] = p.Title
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("%s has %d targets", p.Title, len(p.Targets))
		}
		for _, target := range p.Targets {
			usable(t, p.Title, target.Expr, there)
			asked.WriteString(target.Expr + "\n")
		}
	}
	for _, v := range board.Templating.List {
		if v.Name != "datasource" {
			usable(t, v.Name, v.Definition, there)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !strings.Contains(asked.String(), name) && !slices.Contains(notShown, name) {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// notShown are metrics that a panel would say nothing by, or says by another.
var notShown = []string{
	"atmost_build_info", "atmost_executions_started_total", "atmost_panics_total", "atmost_store_clock_suspended", "atmost_store_disk_low",
	"atmost_store_failures_total", "atmost_store_processing_records", "atmost_store_up",
}

// TestPromtool has Prometheus' own tool check the alerts, and try when they fire.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if err := debian.Install(nil, "prometheus"); err != nil {
			skip.Test(t, "THE ALERTS WERE NOT TRIED: it takes promtool (on Debian: apt-get install prometheus): "+err.Error())
		}
		if tool, err = exec.LookPath("promtool"); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tried, err := os.ReadFile("../../deploy/prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if n := strings.Count(string(tried), "alertname: "+a.Alert+"\n"); n < 2 {
			t.Errorf("%s is tried %d times, and has to be where it fires and where not", a.Alert, n)
		}
	}
}
