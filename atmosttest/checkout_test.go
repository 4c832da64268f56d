package atmosttest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/atmosttest"
)

// region checkout

// Checkout is what is tested: the part of a shop that charges cards.
type Checkout struct {
	Payments *atmostclient.Client
}

// ErrPending says that the customer may have been charged. A person looks into it; nobody asks the customer to pay again.
var ErrPending = errors.New("the payment is being looked into")

// Pay charges an order, once, however often it is called for it.
func (c Checkout) Pay(ctx context.Context, order, cents int) (charge string, err error) {
	result, err := c.Payments.Execute(ctx, atmost.Call{
		ID:        atmost.ID{Key: atmost.KeyOf("order", order, "charge")},
		Operation: "payment.charge",
		Payload:   fmt.Appendf(nil, `{"order":%d,"cents":%d}`, order, cents),
	})
	switch {
	case atmost.ExecutedOf(err) == atmost.ExecutedUnknown:
		return "", fmt.Errorf("%w: %w", ErrPending, err)
	case atmost.CodeOf(err) == atmost.CodeResultNotKept && result.State == atmost.Completed:
		return "of old", nil // it was paid, and is long delivered
	case err != nil:
		return "", err
	}
	return charge, json.Unmarshal(result.JSON, &charge)
}

// endregion

// shop is a checkout before a service before a bank, of which the latter counts charges.
type shop struct {
	Checkout
	service *atmosttest.Service
	charges atomic.Int64
	during  func() // a charge, if not nil
}

// region shop

func open(t *testing.T) *shop {
	s := new(shop)
	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := s.charges.Add(1)
		if s.during != nil {
			s.during()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `"ch_%d"`, n)
	}))
	t.Cleanup(bank.Close)
	s.service = atmosttest.Start(t, atmosttest.WithUpstream("payment.charge", bank.URL))
	s.Payments = client(t, s.service)
	return s
}

// endregion

// pays fails the test unless paying order 1042 gives charge, and err, and there was one charge.
func (s *shop) pays(t *testing.T, charge string, want error) {
	t.Helper()
	got, err := s.Pay(t.Context(), 1042, 4200)
	if got != charge || !errors.Is(err, want) {
		t.Errorf("%q, %v", got, err)
	}
	if n := s.charges.Load(); n != 1 {
		t.Errorf("the card was charged %d times", n)
	}
}

// region lost

func TestCheckoutWhenTheReplyIsLost(t *testing.T) {
	s := open(t)
	s.service.LoseReply()
	s.pays(t, "ch_1", nil)
}

// endregion

// region crash

func TestCheckoutWhenTheServiceCrashes(t *testing.T) {
	s := open(t)
	s.during = s.service.Crash
	s.pays(t, "", ErrPending)
	s.pays(t, "", ErrPending) // not charged again, and not told to be safe
}

// endregion

// region lapse

func TestCheckoutWhenTheLeaseLapses(t *testing.T) {
	s := open(t)
	s.during = func() { s.service.Lapse(atmost.ID{Key: "order/1042/charge"}) }
	s.pays(t, "ch_1", nil) // the late report settled it
	s.pays(t, "ch_1", nil)
}

// endregion

// region later

func TestCheckoutTwoDaysLater(t *testing.T) {
	s := open(t)
	s.pays(t, "ch_1", nil)
	s.service.Advance(48 * time.Hour)
	s.pays(t, "of old", nil)
}

// endregion

// region twice

func TestCheckoutIsCalledTwice(t *testing.T) {
	s := open(t)
	second := make(chan error)
	s.during = func() {
		go func() {
			_, err := s.Pay(t.Context(), 1042, 4200)
			second <- err
		}()
	}
	s.pays(t, "ch_1", nil)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// endregion
