package atmostclient_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
)

// region execute

// Charge has the service charge an order, once, however often it is called.
func Charge(ctx context.Context, service *atmostclient.Client, order int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	result, err := service.Execute(ctx, atmost.Call{
		ID:        atmost.ID{Key: atmost.KeyOf("order", order, "charge")},
		Operation: "payment.charge",
		Payload:   fmt.Appendf(nil, `{"order":%d,"amount":4200,"currency":"EUR"}`, order),
	})
	if err != nil {
		return "", fmt.Errorf("charged: %s: %w", atmost.ExecutedOf(err), err)
	}
	return string(result.JSON), nil
}

// endregion

func Example() {
	url, stop := example()
	defer stop()
	service, err := atmostclient.New(url, atmostclient.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		fmt.Println(Charge(context.Background(), service, 1042))
	}
	// Output:
	// {"charge_id":"ch_1"} <nil>
	// {"charge_id":"ch_1"} <nil>
}

// region once

// Ship runs here, in whichever of the shop's processes calls it first; the service sees to it that it runs once.
func Ship(ctx context.Context, service atmost.Claimer, order int) (parcel string, err error) {
	return atmost.Once(ctx, service, atmost.Call{
		ID:        atmost.ID{Key: atmost.KeyOf("order", order, "ship")},
		Operation: "order.ship",
		Payload:   fmt.Appendf(nil, `{"order":%d}`, order),
	}, func(ctx context.Context, attempt atmost.Attempt) (string, error) {
		return fmt.Sprintf("parcel-%d-%d", order, attempt.Number), nil // the call of the carrier
	})
}

// endregion

func Example_once() {
	url, stop := example()
	defer stop()
	service, err := atmostclient.New(url, atmostclient.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		fmt.Println(Ship(context.Background(), service, 1042))
	}
	// Output:
	// parcel-1042-1 <nil>
	// parcel-1042-1 <nil>
}

// example is a service that charges, and whose clients ship.
func example() (url string, stop func()) {
	e, err := atmost.New(context.Background(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{
		"payment.charge": {Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return completed(`{"charge_id":"ch_1"}`) })},
		"order.ship":     {},
	}})
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewServer(server.New(e, server.Options{}))
	return s.URL, func() {
		s.Close()
		e.Close(context.Background())
	}
}
