package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
)

func devCommand(p process) *cobra.Command {
	var data string
	var withDemo bool
	c := &cobra.Command{
		Use: "dev", Short: "Try it: the service and a sample upstream in one command", Args: noArguments,
		Long: "Starts the service on an embedded store, and a sample upstream whose every effect is told.\n" +
			"Prints curl lines to try. With --demo it plays a scene against the real service instead, and exits with 0\n" +
			"only if everything went as promised.\n\n" + simulateHelp,
		RunE: func(c *cobra.Command, _ []string) error {
			p.ownSignals() // a temporary directory is removed at the end
			d := &dev{process: p}
			if withDemo {
				return d.run(c.Context(), data, d.demo)
			}
			return d.run(c.Context(), data, d.serve)
		},
	}
	c.Flags().StringVar(&data, "data", "", "directory to keep records in (default: a temporary one, removed at the end)")
	c.Flags().BoolVar(&withDemo, "demo", false, "play a scripted scene and exit")
	return c
}

// dev is the service and its sample upstream, for newcomers.
type dev struct {
	process
	mu     sync.Mutex // of stdout
	dir    string
	sample *sample
	target string // the sample's URL
	busy   []string
}

// say prints one line for people.
func (d *dev) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = fmt.Fprintf(d.stdout, format+"\n", args...)
}

// run prepares the directory and the sample, and then does what play says.
func (d *dev) run(ctx context.Context, data string, play func(context.Context) error) (err error) {
	d.dir = data
	if data == "" {
		if d.dir, err = os.MkdirTemp("", "atmost-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	} else if err := os.MkdirAll(data, 0o750); err != nil {
		return err
	}
	d.sample = newSample(func(e effect) {
		d.say("  effect    %s was performed for key %s: %s", e.Operation, e.Key, e.Result)
	})
	preferred := "127.0.0.1:9000"
	l, err := net.Listen("tcp", preferred)
	if err != nil {
		d.busy = append(d.busy, preferred)
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	d.target = "http://" + l.Addr().String()
	upstream := &http.Server{Handler: d.sample.handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = upstream.Serve(l) // ends by Close
	}()
	defer func() { <-served }()
	defer upstream.Close() //nolint:errcheck // nothing is lost
	return play(ctx)
}

// sampleConfig is the configuration of a service for the sample at target.
func sampleConfig(listen, admin, store, target string) string {
	return strings.NewReplacer("LISTEN", listen, "ADMIN", admin, "STORE", store, "TARGET", target).Replace(`# Made by atmost dev.
listen: LISTEN
admin: ADMIN
store: STORE
drain_timeout: 2s
log: {level: warn}
defaults: {timeout: 10s}
operations:
  user.create:
    url: TARGET/users
  payment.charge:
    url: TARGET/charges
    on_unknown: probe
    probe_url: TARGET/charges/by-key/{key}
  email.send:
    url: TARGET/emails
`)
}

// configure writes the configuration file.
func (d *dev) configure(listen, admin string) (file string, err error) {
	file = filepath.Join(d.dir, "atmost.yaml")
	store := "pebble:" + filepath.Join(d.dir, "records")
	return file, os.WriteFile(file, []byte(sampleConfig(listen, admin, store, d.target)), 0o600)
}

// serve runs the service in this process until it is told to end.
func (d *dev) serve(ctx context.Context) error {
	listen, err := d.address("127.0.0.1:8080")
	if err != nil {
		return err
	}
	admin, err := d.address("127.0.0.1:8081")
	if err != nil {
		return err
	}
	file, err := d.configure(listen, admin)
	if err != nil {
		return err
	}
	s := source{file: file, env: func(string) (string, bool) { return "", false }, read: os.ReadFile}
	loaded, err := s.load()
	if err != nil {
		return err
	}
	service, err := newProgram(ctx, s, loaded, d.newLogger(loaded), atmost.Events{Answered: d.tell})
	if err != nil {
		return err
	}
	d.guide("http://"+service.address(listenerPublic).String(), "http://"+service.address(listenerAdmin).String())
	if err := service.Run(ctx, d.signals); err != nil {
		return err
	}
	service.Close()
	return nil
}

// address is preferred, or a free one if that is taken.
func (d *dev) address(preferred string) (string, error) {
	l, err := net.Listen("tcp", preferred)
	if err != nil {
		d.busy = append(d.busy, preferred)
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	return l.Addr().String(), l.Close()
}
