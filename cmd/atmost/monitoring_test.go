package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
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
	if len(found) == 0 && !strings.Contains(expr, "up{") {
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

// dashboard is what of Grafana's is looked at.
type dashboard struct {
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

func readBoard(t *testing.T) (board dashboard) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/atmost.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	return board
}

// TestDashboard: each panel asks for what there is, and everything that is told to be watched is on it.
func TestDashboard(t *testing.T) {
	board := readBoard(t)
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

// TestPromtool has Prometheus' own tool check the alerts and what the dashboard asks for, and try when alerts fire.
func TestPromtool(t *testing.T) {
	tool, err := promtool()
	if err != nil {
		skip.Test(t, "THE ALERTS WERE NOT TRIED: it takes promtool (on Debian: apt-get install prometheus): "+err.Error())
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "rules", panelRules(t)}} {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// panelRules makes rules of what the dashboard asks for, in a file, because that is what the tool checks.
func panelRules(t *testing.T) string {
	t.Helper()
	type rule struct{ Record, Expr string }
	var rules []rule
	chosen := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h") // what else is a variable stands in quotes
	for _, p := range readBoard(t).Panels {
		for _, target := range p.Targets {
			rules = append(rules, rule{fmt.Sprintf("panel:%d:%s", p.ID, target.RefID), chosen.Replace(target.Expr)})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// promtool finds the tool, or installs it where that is possible.
func promtool() (string, error) {
	if tool, err := exec.LookPath("promtool"); err == nil {
		return tool, nil
	}
	if err := debian.Install(noServer, "prometheus"); err != nil {
		return "", err
	}
	return exec.LookPath("promtool")
}

// noServer keeps the package prometheus from running a server where systemd runs, which asks for no run level.
func noServer() error {
	const unit = "/etc/systemd/system/prometheus.service"
	if _, err := os.Lstat(unit); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(unit), 0o755); err != nil {
		return err
	}
	return os.Symlink(os.DevNull, unit) // as systemctl mask does
}

// TestAlertsAreTried: for each there are series by which it fires, and some by which it does not.
func TestAlertsAreTried(t *testing.T) {
	text, err := os.ReadFile("../../deploy/prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Looks []struct {
				Alert string           `yaml:"alertname"`
				Fires []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fires, never := map[string]bool{}, map[string]bool{} // never in a whole test
	for _, series := range file.Tests {
		fired := map[string]bool{}
		for _, look := range series.Looks {
			fired[look.Alert] = fired[look.Alert] || len(look.Fires) > 0
		}
		for name, did := range fired {
			if did {
				fires[name] = true
			} else {
				never[name] = true
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !never[a.Alert] {
			t.Errorf("%s has to be tried where it fires and where it must not", a.Alert)
		}
	}
}
