package upstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/atmost-dev/atmost"
)

// h2peer is an HTTP/2 server that does by hand what real ones do only in bad moments. It counts requests that came
// completely, and calls fault for the first; later ones are answered 200.
type h2peer struct {
	effects atomic.Int32
	fault   func(fr *http2.Framer, stream uint32) (goOn bool)
}

func (p *h2peer) start(t *testing.T) (url string, rt *Transport, plain *http.Transport) {
	t.Helper()
	srv, config := certificate(t)
	config.NextProtos = []string{"h2"}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	serveListener(t, l, p.serve)
	plain = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
	t.Cleanup(plain.CloseIdleConnections)
	return "https://" + l.Addr().String(), newTransport(t, srv), plain
}

func (p *h2peer) serve(c net.Conn) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	fr := http2.NewFramer(c, c)
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		ended := false
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = fr.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			ended = f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
		}
		if !ended {
			continue
		}
		if p.effects.Add(1) > 1 {
			answer(fr, f.Header().StreamID, 200, "")
		} else if !p.fault(fr, f.Header().StreamID) {
			return
		}
	}
}

func answer(fr *http2.Framer, stream uint32, status int, body string) {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(status)})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: body == ""})
	if body != "" {
		_ = fr.WriteData(stream, false, []byte(body))
	}
}

var h2faults = map[string]func(*http2.Framer, uint32) bool{
	"GOAWAY": func(fr *http2.Framer, _ uint32) bool { return fr.WriteGoAway(0, http2.ErrCodeNo, nil) == nil },
	"REFUSED_STREAM": func(fr *http2.Framer, s uint32) bool {
		return fr.WriteRSTStream(s, http2.ErrCodeRefusedStream) == nil
	},
	"PROTOCOL_ERROR": func(fr *http2.Framer, s uint32) bool { return fr.WriteRSTStream(s, http2.ErrCodeProtocol) == nil },
	"INTERNAL_ERROR": func(fr *http2.Framer, s uint32) bool { return fr.WriteRSTStream(s, http2.ErrCodeInternal) == nil },
	"hang-up":        func(*http2.Framer, uint32) bool { return false },
	"half an answer": func(fr *http2.Framer, s uint32) bool { answer(fr, s, 200, `{"half":`); return false },
}

func TestHTTP2NeverSendsTwice(t *testing.T) {
	for fault, do := range h2faults {
		t.Run(fault, func(t *testing.T) {
			p := &h2peer{fault: do}
			url, rt, _ := p.start(t)
			got := newUpstream(t, url, func(c *Config) { c.Transport = rt }).Execute(t.Context(), anAttempt)
			if got.State != atmost.Unknown {
				t.Errorf("got %+v, want unknown", got)
			}
			if n := p.effects.Load(); n != 1 {
				t.Errorf("%d effects, want 1", n)
			}
		})
		for name, body := range bodies() {
			if fault == "half an answer" {
				continue // which is an answer, to a Transport
			}
			for through, make := range sendings() {
				t.Run(through+" "+fault+" "+name, func(t *testing.T) {
					p := &h2peer{fault: do}
					url, rt, _ := p.start(t)
					r, _ := http.NewRequestWithContext(t.Context(), "GET", url, body())
					_, err := make(t, rt).RoundTrip(r)
					var unsent *NotSentError
					if err == nil || errors.As(err, &unsent) {
						t.Errorf("got %v, want an error that does not say that nothing was sent", err)
					}
					if n := p.effects.Load(); n != 1 {
						t.Errorf("%d effects, want 1", n)
					}
				})
			}
		}
	}
}

// The control: net/http by itself sends again over HTTP/2, without any header that allows it.
func TestHTTP2PlainTransportSendsTwice(t *testing.T) {
	for _, fault := range []string{"GOAWAY", "REFUSED_STREAM", "PROTOCOL_ERROR"} {
		t.Run(fault, func(t *testing.T) {
			p := &h2peer{fault: h2faults[fault]}
			url, _, plain := p.start(t)
			r, _ := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader("payload"))
			resp, err := plain.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if n := p.effects.Load(); n != 2 {
				t.Errorf("%d effects, want 2: has net/http changed?", n)
			}
		})
	}
}
