package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// plain is the design that is usually written: the claim is one INSERT … ON CONFLICT, the outcome one UPDATE, each a statement of
// its own, on a pool of 32 connections.
type plain struct {
	pool     *pgxpool.Pool
	client   *http.Client
	upstream string
}

const plainSchema = `CREATE TABLE plain (key text PRIMARY KEY, state smallint NOT NULL, fingerprint bytea NOT NULL,
	result bytea, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL)`

func newPlain(ctx context.Context, database, upstream string) (*plain, error) {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 32
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	return &plain{pool: pool, client: &http.Client{Transport: transport}, upstream: upstream}, nil
}

type plainRequest struct {
	Operation string          `json:"operation"`
	Payload   json.RawMessage `json:"payload"`
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	data, err := io.ReadAll(r.Body)
	var request plainRequest
	if err == nil {
		err = json.Unmarshal(data, &request)
	}
	if err != nil || key == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	status, answer := p.execute(r.Context(), key, request.Payload, sha256.Sum256(data))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (p *plain) execute(ctx context.Context, key string, payload []byte, print [32]byte) (int, []byte) {
	var claimed bool
	err := p.pool.QueryRow(ctx, `INSERT INTO plain VALUES ($1, 1, $2, NULL, now(), now() + interval '1 day')
		ON CONFLICT (key) DO UPDATE SET state = 1 WHERE plain.expires_at < now() RETURNING true`, key, print[:]).Scan(&claimed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return p.known(ctx, key, print)
	case err != nil:
		return http.StatusServiceUnavailable, []byte(`{"status":"unavailable"}`)
	}
	result, err := p.call(ctx, key, payload)
	if err != nil {
		return http.StatusBadGateway, []byte(`{"status":"failed"}`)
	}
	if _, err := p.pool.Exec(ctx, `UPDATE plain SET state = 2, result = $2 WHERE key = $1 AND state = 1`, key, result); err != nil {
		return http.StatusServiceUnavailable, []byte(`{"status":"unavailable"}`)
	}
	return http.StatusOK, completed(result)
}

func (p *plain) known(ctx context.Context, key string, print [32]byte) (int, []byte) {
	var state int16
	var stored, result []byte
	if err := p.pool.QueryRow(ctx, `SELECT state, fingerprint, result FROM plain WHERE key = $1`, key).Scan(&state, &stored, &result); err != nil {
		return http.StatusServiceUnavailable, []byte(`{"status":"unavailable"}`)
	}
	switch {
	case !bytes.Equal(stored, print[:]):
		return http.StatusUnprocessableEntity, []byte(`{"status":"mismatch"}`)
	case state == 1:
		return http.StatusAccepted, []byte(`{"status":"processing"}`)
	}
	return http.StatusOK, completed(result)
}

func (p *plain) call(ctx context.Context, key string, payload []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.upstream, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

func completed(result []byte) []byte {
	return append(append([]byte(`{"status":"completed","result":`), result...), '}')
}
