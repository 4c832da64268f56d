package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/atmost-dev/atmost/internal/skip"
)

// TestNotify has the real program tell what it tells systemd.
func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := func() string {
		t.Helper()
		b := make([]byte, 256)
		if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	c, err := startChild(t.Context(), []string{"serve", "--store", "memory:", "--listen", "127.0.0.1:0", "--admin", ""},
		[]string{"NOTIFY_SOCKET=" + socket}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.kill()
	if got := told(); got != "READY=1" {
		t.Errorf("ready, it told %q", got)
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("shutting down, it told %q", got)
	}
	<-c.ended
}

// TestSystemdUnit has systemd check the unit, with this program in the place of the installed one.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		skip.Test(t, "deploy/systemd/atmost.service WAS NOT CHECKED: there is no systemd-analyze; install Debian's systemd")
	}
	unit, err := os.ReadFile("../../deploy/systemd/atmost.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "atmost.service")
	if err := os.WriteFile(file, bytes.ReplaceAll(unit, []byte("/usr/local/bin/atmost"), []byte(self)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestManifests holds the Kubernetes manifests to what the program reads, and to what they say of each other.
func TestManifests(t *testing.T) {
	for _, name := range []string{"postgresql", "pebble"} {
		t.Run(name, func(t *testing.T) {
			documents := manifests(t, "../../deploy/kubernetes/"+name+".yaml")
			text := at[string](t, documents["ConfigMap"], "data", "atmost.yaml")
			s := source{file: filepath.Join(t.TempDir(), "atmost.yaml"), env: func(string) (string, bool) { return "", false }, read: os.ReadFile}
			if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := s.load()
			if err != nil {
				t.Fatal(err)
			}
			workload := documents["Deployment"]
			if workload == nil {
				workload = documents["StatefulSet"]
			}
			pod := at[map[string]any](t, workload, "spec", "template", "spec")
			if grace := time.Duration(at[int](t, pod, "terminationGracePeriodSeconds")) * time.Second; grace < c.DrainDelay+c.DrainTimeout+answerGrace {
				t.Errorf("a pod is killed after %v, but may drain for %v", grace, c.DrainDelay+c.DrainTimeout+answerGrace)
			}
			container := at[[]any](t, pod, "containers")[0].(map[string]any)
			ports := map[string]int{}
			for _, p := range at[[]any](t, container, "ports") {
				ports[at[string](t, p, "name")] = at[int](t, p, "containerPort")
			}
			for port, address := range map[string]string{"http": c.Listen, "health": c.Health} {
				if _, p, err := net.SplitHostPort(address); err != nil || p != strconv.Itoa(ports[port]) {
					t.Errorf("port %s is %d, the service listens on %s", port, ports[port], address)
				}
			}
			for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
				if at[string](t, container, probe, "httpGet", "port") != "health" {
					t.Errorf("the %s is not on the health listener", probe)
				}
			}
			for _, kind := range []string{"Service", "PodDisruptionBudget"} {
				if documents[kind] == nil {
					t.Errorf("there is no %s", kind)
				}
			}
		})
	}
}

// manifests reads the documents of a file, by kind.
func manifests(t *testing.T, file string) map[string]map[string]any {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]map[string]any{}
	for d := yaml.NewDecoder(f); ; {
		var document map[string]any
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[document["kind"].(string)] = document
	}
}

// at is what a document has under a path.
func at[T any](t *testing.T, document any, path ...string) T {
	t.Helper()
	for _, name := range path {
		m, _ := document.(map[string]any)
		document = m[name]
	}
	v, ok := document.(T)
	if !ok {
		t.Fatalf("there is no %s, but %v", strings.Join(path, "."), document)
	}
	return v
}
