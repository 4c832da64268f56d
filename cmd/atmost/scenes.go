package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

const (
	demoCharge = `{"amount":4200,"currency":"EUR"}`
	demoUser   = `{"name":"Ada"}`
	duplicates = 100
)

func scenes() []scene {
	return []scene{
		{"A first call", "it is executed", "demo-user", firstCall},
		{"The same call again", "the same bytes, nothing is executed", "demo-user", replay},
		{"The same key with another payload", "it is refused", "demo-user", mismatch},
		{"A hundred identical calls at once", "one effect, only 200 and 202", "demo-crowd", crowd},
		{"The upstream has its effect, and its reply is lost", "unknown, not repeated, then settled", "demo-lost", lostReply},
		{"The service is killed in mid-execution (SIGKILL)", "unknown, not repeated, then settled", "demo-killed", killed},
	}
}

func firstCall(ctx context.Context, d *demo, key string) (string, error) {
	a, err := d.expect(ctx, http.StatusOK, key, "user.create", demoUser)
	return "The user was created; the answer is " + a.body, err
}

func replay(ctx context.Context, d *demo, key string) (string, error) {
	first, err := d.expect(ctx, http.StatusOK, key, "user.create", demoUser)
	if err != nil {
		return "", err
	}
	second, err := d.expect(ctx, http.StatusOK, key, "user.create", demoUser)
	switch {
	case err != nil:
		return "", err
	case first.replayed != "true" || second.replayed != "true":
		return "", errors.New("the answer was not a replay")
	case first.body != second.body:
		return "", fmt.Errorf("the answers differ: %s and %s", first.body, second.body)
	}
	return "Answered from the record, byte for byte: " + second.body, nil
}

func mismatch(ctx context.Context, d *demo, key string) (string, error) {
	a, err := d.expect(ctx, http.StatusUnprocessableEntity, key, "user.create", `{"name":"Grace"}`)
	return "The answer is 422: " + a.body, err
}

func crowd(ctx context.Context, d *demo, key string) (string, error) {
	answers := make([]answer, duplicates)
	failures := make([]error, duplicates)
	var all sync.WaitGroup
	gate := make(chan struct{})
	for i := range duplicates {
		all.Go(func() {
			<-gate
			answers[i], failures[i] = d.execute(ctx, key, "payment.charge", demoCharge)
		})
	}
	close(gate)
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return "", err
	}
	final, err := d.until(ctx, http.StatusOK, key, "payment.charge", demoCharge)
	if err != nil {
		return "", err
	}
	counts := map[int]int{}
	for _, a := range answers {
		counts[a.status]++
		if a.status == http.StatusOK && a.body != final.body {
			return "", fmt.Errorf("the answers differ: %s and %s", a.body, final.body)
		}
	}
	if counts[http.StatusOK]+counts[http.StatusAccepted] != duplicates {
		return "", fmt.Errorf("there were other answers than 200 and 202: %v", counts)
	}
	return fmt.Sprintf("%d were answered 200 with the same bytes, %d were answered 202 (still processing).", counts[http.StatusOK], counts[http.StatusAccepted]), nil
}

func lostReply(ctx context.Context, d *demo, key string) (string, error) {
	const payload = `{"amount":4200,"simulate":"` + simulateDrop + `"}`
	d.sample.silence(true)
	if _, err := d.expect(ctx, http.StatusConflict, key, "payment.charge", payload); err != nil {
		return "", err
	}
	return settled(ctx, d, key, payload)
}

func killed(ctx context.Context, d *demo, key string) (string, error) {
	const payload = `{"amount":4200,"simulate":"` + simulateHang + `"}`
	d.sample.silence(true)
	answered := make(chan error, 1)
	go func() {
		a, err := d.execute(ctx, key, "payment.charge", payload)
		if err == nil {
			answered <- fmt.Errorf("the killed service answered %d: %s", a.status, a.body)
			return
		}
		answered <- nil
	}()
	select {
	case <-d.sample.hung:
	case err := <-answered:
		return "", errors.Join(errors.New("the call ended before the upstream had it"), err)
	case <-ctx.Done():
		return "", ctx.Err()
	}
	d.child.kill()
	d.say("   Process %d was killed while the upstream had the call in its hands.", d.child.cmd.Process.Pid)
	if err := <-answered; err != nil {
		return "", err
	}
	if err := d.start(ctx); err != nil {
		return "", err
	}
	d.say("   It was started again, as process %d.", d.child.cmd.Process.Pid)
	return settled(ctx, d, key, payload)
}

// settled asks again about a key whose outcome is unknown, and then lets the upstream tell.
func settled(ctx context.Context, d *demo, key, payload string) (string, error) {
	a, err := d.expect(ctx, http.StatusConflict, key, "payment.charge", payload)
	if err != nil {
		return "", err
	}
	d.say("   Asked again, the service says 409: %s", a.body)
	d.sample.silence(false)
	a, err = d.until(ctx, http.StatusOK, key, "payment.charge", payload)
	return "Then it could ask the upstream what had happened, and answers 200: " + a.body, err
}
