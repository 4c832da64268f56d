// Command main is an API whose handlers run at most once by the Idempotency-Key header, and a client that retries safely.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/store/memstore"
)

// charge is the handler as it would be without the middleware.
func charge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{"charge": "ch_1"})
}

// region tenant
// tenantOf tells whose keys a request's are. It must be the same for every retry: the account, not the token.
func tenantOf(r *http.Request) (string, error) {
	account, ok := r.Context().Value(accountKey{}).(string)
	if !ok {
		return "", fmt.Errorf("nobody is logged in")
	}
	return account, nil
}

// endregion

type accountKey struct{}

// authenticate stands for whatever knows your callers.
func authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accountKey{}, "acct_7")))
	})
}

func main() {
	ctx := context.Background()

	// region middleware
	// A store that outlives the process is pebblestore or pgstore.
	engine, err := atmost.New(ctx, memstore.New(memstore.Options{}), atmost.Options{
		Operations: map[string]atmost.Operation{atmosthttp.DefaultOperation: {}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(ctx)
	atMostOnce, err := atmosthttp.New(engine, tenantOf, atmosthttp.Options{RequireKey: true})
	if err != nil {
		log.Fatal(err)
	}
	api := http.NewServeMux()
	api.HandleFunc("POST /charges", charge)
	handler := authenticate(atMostOnce(api)) // what knows the caller goes outside
	// endregion

	server := httptest.NewServer(handler)
	defer server.Close()

	// region client
	transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{server.URL}})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: transport}
	request, err := http.NewRequest(http.MethodPost, server.URL+"/charges", strings.NewReader(`{"amount": 4200}`))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Idempotency-Key", "order-1") // stored with the order, so that a retry after a crash has it, too
	response, err := client.Do(request)
	// endregion
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status, response.Header.Get("Idempotency-Replayed"))
}
