package atmost_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
)

// region once

// A program that needs no service: the engine runs inside it.
func Example() {
	ctx := context.Background()
	engine, err := atmost.New(ctx, memstore.New(memstore.Options{}), atmost.Options{
		Operations: map[string]atmost.Operation{"order.ship": {}}, // without an Executor: performed by whoever claims it
	})
	if err != nil {
		panic(err)
	}
	defer engine.Close(ctx)

	ship := func(ctx context.Context, attempt atmost.Attempt) (string, error) {
		fmt.Println("shipping")
		return "parcel-7", nil // the call of the carrier
	}
	for range 2 {
		parcel, err := atmost.Once(ctx, engine, atmost.Call{
			ID:        atmost.ID{Key: atmost.KeyOf("order", 1042, "ship")},
			Operation: "order.ship",
			Payload:   []byte(`{"order":1042}`),
		}, ship)
		fmt.Println(parcel, err)
	}
	// Output:
	// shipping
	// parcel-7 <nil>
	// parcel-7 <nil>
}

// endregion

var errDeclined = errors.New("the carrier does not go there")

// engine is one whose only operation is order.ship.
func engine() *atmost.Engine {
	e, err := atmost.New(context.Background(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{"order.ship": {}}})
	if err != nil {
		panic(err)
	}
	return e
}

// region classify

// A classifier says once what the errors of a program mean.
func ExampleWithOnceOptions() {
	e := engine()
	defer e.Close(context.Background())
	claimer := atmost.WithOnceOptions(e, atmost.OnceOptions{Classify: func(err error) atmost.Executed {
		if errors.Is(err, errDeclined) {
			return atmost.ExecutedYes // final: it is not tried again
		}
		return atmost.ExecutedUnknown
	}})
	for _, result := range []error{errDeclined, nil} {
		_, err := atmost.Once(context.Background(), claimer, atmost.Call{
			ID: atmost.ID{Key: "order/1042/ship"}, Operation: "order.ship", Payload: []byte("1042"),
		}, func(context.Context, atmost.Attempt) (string, error) { return "parcel-7", result })
		var failure atmost.Failure
		fmt.Println(errors.As(err, &failure), failure.Message)
	}
	// Output:
	// true the carrier does not go there
	// true the carrier does not go there
}

// endregion

// region executed

// What is known of the effect decides what a program does next.
func ExampleExecutedOf() {
	e := engine()
	defer e.Close(context.Background())
	_, err := atmost.Once(context.Background(), e, atmost.Call{
		ID: atmost.ID{Key: "order/1042/ship"}, Operation: "order.ship", Payload: []byte("1042"),
	}, func(context.Context, atmost.Attempt) (string, error) {
		return "", errors.New("no answer from the carrier")
	})
	switch atmost.ExecutedOf(err) {
	case atmost.ExecutedNo:
		fmt.Println("it surely was not shipped: try again, with the same key")
	case atmost.ExecutedYes:
		fmt.Println("it ended, and not with a result:", err)
	case atmost.ExecutedUnknown:
		fmt.Println("it may have been shipped: ask again with the same key, or have somebody find out")
	}
	// Output: it may have been shipped: ask again with the same key, or have somebody find out
}

// endregion

func ExampleKeyOf() {
	fmt.Println(atmost.KeyOf("order", 1042, "charge"))
	fmt.Println(atmost.KeyOf("order", "10/42", "charge"))
	// Output:
	// order/1042/charge
	// order/10%2F42/charge
}
