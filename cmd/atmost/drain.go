package main

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"
)

// drain ends everything in order: not ready, then nothing new, then what is running.
func (p *program) drain(ctx context.Context, signals <-chan os.Signal) error {
	p.ready.Store(false)
	p.notify(notifyStopping)
	pending, _ := p.engine.Pending()
	p.log.Info("shutting down", "pending", pending, "drain_delay", p.config.DrainDelay.String(), "drain_timeout", p.config.DrainTimeout.String())
	drained := make(chan struct{})
	stop := make(chan struct{})
	defer close(stop)
	go func() { // after a second signal nobody waits for it: the process ends
		defer close(drained)
		delay := time.NewTimer(p.config.DrainDelay)
		defer delay.Stop()
		select {
		case <-delay.C:
			p.end(context.WithoutCancel(ctx))
		case <-stop:
		}
	}()
	for {
		select {
		case <-drained:
			p.log.Info("shut down")
			return nil
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			p.log.Warn("ending at once; what was executing is unknown")
			return errForced
		}
	}
}

// answerGrace is how long answers may take to be written after the last execution has ended.
const answerGrace = 5 * time.Second

// end lets executions end, within the drain time-out, while the listeners for clients close; then the others.
func (p *program) end(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, p.config.DrainTimeout)
	defer cancel()
	var closing sync.WaitGroup
	grace, cancelGrace := context.WithTimeout(ctx, p.config.DrainTimeout+answerGrace)
	defer cancelGrace()
	var others []*listener
	for _, l := range p.listeners {
		if l.name != listenerPublic && l.name != listenerGateway {
			others = append(others, l)
			continue
		}
		closing.Go(func() { l.shutdown(grace) })
	}
	p.engine.Close(limit)
	closing.Wait()
	for _, l := range others {
		grace, cancel := context.WithTimeout(ctx, answerGrace)
		l.shutdown(grace)
		cancel()
	}
}

// Close releases everything. After a Run that drained, nothing is interrupted by it.
func (p *program) Close() {
	for _, l := range p.listeners {
		l.close()
	}
	p.serving.Wait()
	if p.engine != nil {
		at, cancel := context.WithCancel(context.Background())
		cancel()
		p.engine.Close(at)
	}
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.log.Error("the store did not close well", "error", err)
		}
	}
	p.tracing.close(p.log)
	p.transport.CloseIdleConnections()
	if g := p.gateway.Load(); g != nil {
		g.Close()
	}
}
