package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost/store/pgstore"
)

// shape is what there is to say of a metric: its type and its labels.
type shape struct{ kind, labels string }

// shapes reads what metrics there are from a scrape; labels of every series of one must be the same.
func shapes(t *testing.T, scraped string) map[string]shape {
	t.Helper()
	found := map[string]shape{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	name := ""
	for line := range strings.Lines(scraped) {
		if others.MatchString(line) {
			continue
		}
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# TYPE "):
			name = words[2]
			found[name] = shape{kind: words[3], labels: "?"}
		case !strings.HasPrefix(line, "#"):
			var labels []string
			series, _, _ := strings.Cut(line, "} ")
			if _, inside, has := strings.Cut(series, "{"); has {
				for _, m := range label.FindAllStringSubmatch(inside, -1) {
					if m[1] != "le" {
						labels = append(labels, m[1])
					}
				}
			}
			slices.Sort(labels)
			s := found[name]
			if all := strings.Join(labels, ", "); s.labels == "?" {
				s.labels = all
			} else if s.labels != all {
				t.Errorf("the labels of %s are %s and %s", name, s.labels, all)
			}
			found[name] = s
		}
	}
	return found
}

// others are the metrics of the Go runtime and the process.
var others = regexp.MustCompile(`^(# [A-Z]+ )?(go|process)_`)

// documented reads the tables of docs/observability.md.
func documented(t *testing.T) map[string]shape {
	t.Helper()
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]shape{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `atmost_") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		labels := strings.Split(strings.TrimSpace(cells[3]), ", ")
		slices.Sort(labels)
		if _, twice := found[name]; twice || len(cells) != 7 || strings.TrimSpace(cells[4]) == "" {
			t.Errorf("the row of %s is not as the others, or there are two", name)
		}
		found[name] = shape{strings.TrimSpace(cells[2]), strings.Join(labels, ", ")}
	}
	return found
}

// TestMetricsAreDocumented: every metric that the program has, with whichever store, is in the tables, as it is; and nothing else.
func TestMetricsAreDocumented(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	exposed := map[string]shape{}
	for _, store := range []string{"memory", "pebble:" + t.TempDir()} {
		r := boot(t, "store: "+store+"\noperations: {a: {url: '"+up.URL+"'}}\n")
		r.execute(t, "k", request).want(t, http.StatusOK, "")
		maps.Copy(exposed, shapes(t, r.get(t, listenerAdmin, "/metrics").body))
	}
	// What a store in PostgreSQL has beside that needs no database to be named.
	registry := prometheus.NewRegistry()
	observePostgres(registry, func() pgstore.Stats { return pgstore.Stats{} })
	batches(registry, config{Store: "postgresql://h/d"})(3)
	w := httptest.NewRecorder()
	metricsHandler(registry, newJournal().logger()).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	maps.Copy(exposed, shapes(t, w.Body.String()))

	if diff := cmp.Diff(documented(t), exposed, cmp.AllowUnexported(shape{})); diff != "" {
		t.Errorf("docs/observability.md (-) and the program (+) differ:\n%s", diff)
	}
	if len(exposed) < 35 {
		t.Errorf("only %d metrics were found", len(exposed))
	}
}

// Clients cannot make up labels: what they ask for and nobody configured is counted together.
func TestInventedOperationsAreNoLabels(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	r := boot(t, "allow_unlisted: true\noperations: {a: {url: '"+up.URL+"'}}\n")
	r.execute(t, "k", request).want(t, http.StatusOK, "")
	const invented = 50
	for n := range invented {
		operation := fmt.Sprintf(`{"operation":"invented-%d","payload":1`, n)
		r.execute(t, fmt.Sprint("execute-", n), operation+"}").want(t, http.StatusUnprocessableEntity, "OPERATION_NOT_CONFIGURED")
		r.call(t, "claim", fmt.Sprint("claim-", n), operation+`,"lease":"30s"}`).want(t, http.StatusCreated, "claimed")
	}
	scraped := r.get(t, listenerAdmin, "/metrics").body
	operations := map[string]bool{}
	for _, m := range regexp.MustCompile(`operation="([^"]*)"`).FindAllStringSubmatch(scraped, -1) {
		operations[m[1]] = true
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "other": true}, operations); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{
		fmt.Sprintf(`atmost_requests_total{answer="OPERATION_NOT_CONFIGURED",operation="other"} %d`, invented),
		fmt.Sprintf(`atmost_requests_total{answer="claimed",operation="other"} %d`, invented),
	} {
		if !strings.Contains(scraped, line) {
			t.Errorf("there is no %s", line)
		}
	}
}

// The trace of a request is told to a scraper that asks for OpenMetrics, and to no other.
func TestTheTraceOfARequestIsAnExemplar(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	r := boot(t, "operations: {a: {url: '"+up.URL+"'}}\n")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	r.call(t, "execute", "k", request, "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01").want(t, http.StatusOK, "")
	if plain := r.get(t, listenerAdmin, "/metrics").body; strings.Contains(plain, trace) {
		t.Error("a trace is in the plain format")
	}
	scrape, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+r.address(listenerAdmin).String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	scrape.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	resp, err := r.client.Do(scrape)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"request", "claim", "execution", "finish"} {
		if !regexp.MustCompile(`atmost_` + name + `_duration_seconds_bucket\{operation="a",le="[^"]*"\} 1 # \{trace_id="` + trace + `"\}`).MatchString(p.body) {
			t.Errorf("no bucket of atmost_%s_duration_seconds has the trace", name)
		}
	}
}

// call sends a request of the API, with name and value of each header.
func (r *running) call(t *testing.T, call, key, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address(listenerPublic).String()+"/v1/idempotency/"+call, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	return answered(t, resp, err)
}
