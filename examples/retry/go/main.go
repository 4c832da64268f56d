// Charges an order once, however often it has to ask, and however often it is run.
//
// Usage: go run ./examples/retry/go [URL [KEY_FILE]]
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	args := append(os.Args[1:], []string{"http://127.0.0.1:8080", "order-1042.key"}[min(len(os.Args)-1, 2):]...)
	key, err := keyIn(args[1])
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	result, err := execute(ctx, args[0], key, []byte(`{"operation":"payment.charge","payload":{"order":1042,"amount":4200,"currency":"EUR"}}`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result)
}

// keyIn is one key for one charge, stored before the first try. An application keeps it in the row of the order.
func keyIn(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(rand.Text())
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	key, err := os.ReadFile(file)
	return string(bytes.TrimSpace(key)), err
}

// region execute

// execute has the operation of body executed at most once and returns its result. It asks until there is one, an answer that
// will not change, or no time.
func execute(ctx context.Context, url, key string, body []byte) (json.RawMessage, error) {
	for backoff := 1; ; {
		a, err := try(ctx, url, key, body)
		switch {
		case err != nil: // no answer, or not one of the service: it may have happened
		case a.status == http.StatusOK:
			return a.Result, nil
		case a.header.Get("Idempotency-Retry") == "no": // this answer will not change
			return nil, fmt.Errorf("refused: %s: %s", a.Error.Code, a.Error.Message)
		case a.header.Get("Idempotency-Retry") == "poll" && a.header.Get("Retry-After") == "": // nor will this one, by itself
			return nil, fmt.Errorf("it may have happened, a person has to find out; do not try with another key: %s: %s", a.Error.Code, a.Error.Message)
		}
		wait, noAdvice := strconv.Atoi(a.header.Get("Retry-After"))
		if noAdvice != nil {
			wait, backoff = backoff, min(2*backoff, 16)
		}
		select {
		case <-time.After(time.Duration(wait)*time.Second + mathrand.N(time.Second/2)):
		case <-ctx.Done():
			return nil, fmt.Errorf("not known yet, it may have happened: run this again, with the same key: %d %s %w", a.status, a.Error.Code, errors.Join(err, ctx.Err()))
		}
	}
}

type answer struct {
	status int
	header http.Header
	Result json.RawMessage
	Error  struct{ Code, Message string }
}

// try asks once. Every try has the same key and the same body.
func try(ctx context.Context, url, key string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/idempotency/execute", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Idempotency-Key", key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "wait=30")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer reply.Body.Close()
	a := answer{status: reply.StatusCode, header: reply.Header}
	return a, json.NewDecoder(reply.Body).Decode(&a)
}

// endregion
