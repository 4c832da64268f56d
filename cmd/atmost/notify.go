package main

import "github.com/coreos/go-systemd/v22/daemon"

// What systemd is told of a service that it started with Type=notify; without one nobody listens.
const (
	notifyReady    = daemon.SdNotifyReady
	notifyStopping = daemon.SdNotifyStopping
)

// notify tells systemd how far the program is.
func (p *program) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("systemd could not be told how far the service is", "error", err)
	}
}
