package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// BenchmarkPassThrough compares a request that passes through the gateway with the same through a plain httputil.ReverseProxy. The two
// take turns, as the machine is not the same from one second to the next.
func BenchmarkPassThrough(b *testing.B) {
	target := httptest.NewServer(http.HandlerFunc(echo))
	defer target.Close()
	to, err := url.Parse(target.URL)
	if err != nil {
		b.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	plain := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() }})
	defer plain.Close()
	gateway := startBefore(b, target.URL, nil)
	for _, method := range []string{"GET", "POST"} {
		b.Run(method, func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				for i, srv := range []*httptest.Server{plain, gateway} {
					begin := time.Now()
					call(b, srv, method)
					took[i] += time.Since(begin)
				}
			}
			b.ReportMetric(float64(took[0])/float64(took[1]), "of-plain")
		})
	}
}

func call(b *testing.B, srv *httptest.Server, method string) {
	r, err := http.NewRequestWithContext(b.Context(), method, srv.URL+"/v1/charges", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
