package telemetry

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Handler returns h with each request as a span, a child of its caller's. To h the caller is that span: so its headers name it, and what
// is passed on does.
func (t *Tracing) Handler(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, name := r.Context(), method(r.Method)
		if len(r.Header["Traceparent"]) == 1 { // several are none
			ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrMethod.String(name)))
		r = r.WithContext(ctx)
		r.Header = r.Header.Clone()
		r.Header.Del("Tracestate") // not set if the span has none
		w3c.Inject(ctx, propagation.HeaderCarrier(r.Header))
		s := &statusWriter{ResponseWriter: w}
		panicked := true
		defer func() {
			answered(span, name, r, s, panicked)
			span.End()
		}()
		h.ServeHTTP(s, r)
		panicked = false
	})
}

// answered takes note of what came of a request.
func answered(span trace.Span, name string, r *http.Request, w *statusWriter, panicked bool) {
	if !span.IsRecording() {
		return
	}
	if r.Pattern != "" && r.Pattern != "/" {
		span.SetName(name + " " + r.Pattern)
		span.SetAttributes(attrRoute.String(r.Pattern))
	}
	if w.status != 0 {
		span.SetAttributes(attrStatus.Int(w.status))
	}
	for _, fact := range [...]struct {
		header string
		attr   attribute.Key
	}{{"Request-Id", attrRequest}, {"Idempotency-Executed", attrExecuted}} {
		if value := w.Header().Get(fact.header); value != "" {
			span.SetAttributes(fact.attr.String(value))
		}
	}
	if replayed, err := strconv.ParseBool(w.Header().Get("Idempotency-Replayed")); err == nil {
		span.SetAttributes(attrReplayed.Bool(replayed))
	}
	if panicked || w.status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// method is a request's, unless it is one that a client made up.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "HTTP"
}

// statusWriter remembers the status that is answered with, 0 if there is none.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) { // others only precede it
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}
