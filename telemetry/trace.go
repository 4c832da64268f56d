package telemetry

import (
	"context"
	"errors"
	"maps"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/atmost-dev/atmost"
)

// Tracing makes OpenTelemetry spans of requests, claims, executions and reports, by standing before the parts that do these things.
// A nil Tracing stands before nothing.
type Tracing struct{ tracer trace.Tracer }

// NewTracing returns a Tracing whose spans go where p says.
func NewTracing(p trace.TracerProvider) *Tracing {
	return &Tracing{p.Tracer("github.com/atmost-dev/atmost/telemetry")}
}

// w3c is how spans are named between processes.
var w3c propagation.TraceContext

// The names of attributes.
const (
	attrOperation = attribute.Key("atmost.operation")
	attrDigest    = attribute.Key("atmost.key_digest")
	attrAttempt   = attribute.Key("atmost.attempt")
	attrOutcome   = attribute.Key("atmost.outcome")
	attrState     = attribute.Key("atmost.state")
	attrCode      = attribute.Key("atmost.code")
	attrReplayed  = attribute.Key("atmost.replayed")
	attrExecuted  = attribute.Key("atmost.executed")
	attrRequest   = attribute.Key("atmost.request_id")
	attrMethod    = attribute.Key("http.request.method")
	attrRoute     = attribute.Key("http.route")
	attrStatus    = attribute.Key("http.response.status_code")
)

// Operations returns operations whose executions are spans. Their upstreams get those as the parents of their own.
func (t *Tracing) Operations(operations map[string]atmost.Operation) map[string]atmost.Operation {
	if t == nil {
		return operations
	}
	traced := maps.Clone(operations)
	for name, o := range traced {
		if o.Executor != nil {
			o.Executor = &tracedExecutor{t, o.Executor}
			traced[name] = o
		}
	}
	return traced
}

type tracedExecutor struct {
	*Tracing
	next atmost.Executor
}

func (x *tracedExecutor) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	carrier := propagation.MapCarrier{"traceparent": a.Trace.Parent, "tracestate": a.Trace.State}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = w3c.Extract(ctx, carrier)
	}
	ctx, span := x.tracer.Start(ctx, "execute "+a.Operation, trace.WithSpanKind(trace.SpanKindClient))
	returned := false
	defer func() {
		if !returned { // of what, the span must not tell: that may be a payload
			span.SetStatus(codes.Error, "it panicked")
		}
		span.End()
	}()
	carrier["tracestate"] = "" // not set if the span has none
	w3c.Inject(ctx, carrier)
	a.Trace = atmost.Trace{Parent: carrier["traceparent"], State: carrier["tracestate"]}
	if span.IsRecording() {
		span.SetAttributes(attrOperation.String(a.Operation), attrDigest.String(a.ID.Digest()), attrAttempt.Int64(int64(a.Number)))
	}
	o := x.next.Execute(ctx, a)
	returned = true
	if span.IsRecording() {
		span.SetAttributes(attrOutcome.String(o.State.String()))
		if o.UpstreamStatus != 0 {
			span.SetAttributes(attrStatus.Int(o.UpstreamStatus))
		}
		if o.State != atmost.Completed {
			span.SetStatus(codes.Error, o.Message)
		}
	}
	return o
}

// Store returns s with its claims and reports as spans, where they belong to a trace. A request that finds the record of another links to
// the trace in which that was executed. Like s, what is returned is a Watcher, a Guard and Keyed.
func (t *Tracing) Store(s atmost.Store) atmost.Store {
	if t == nil {
		return s
	}
	w, _ := s.(atmost.Watcher)
	return like(s, &tracedStore{s, t}, w)
}

type tracedStore struct {
	atmost.Store
	*Tracing
}

func (s *tracedStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	request := trace.SpanFromContext(ctx)
	name := ""
	switch event.(type) {
	case *atmost.Claim:
		name = "claim"
	case *atmost.Finish:
		name = "finish"
	}
	if name == "" || !request.SpanContext().IsValid() {
		return s.Store.Apply(ctx, id, event)
	}
	ctx, span := s.tracer.Start(ctx, name)
	step, err := s.Store.Apply(ctx, id, event)
	if span.IsRecording() {
		span.SetAttributes(attrDigest.String(id.Digest()), attrState.String(step.Record.State.String()))
		if step.Record.State != atmost.Absent {
			span.SetAttributes(attrOperation.String(step.Record.Operation), attrAttempt.Int64(int64(step.Record.Attempt)))
		}
		told(span, err)
		if c, claim := event.(*atmost.Claim); claim && err == nil && !c.Won(step.Record) {
			link(request, span, step.Record.Trace)
		}
	}
	span.End() // not deferred: after a panic it would tell what that was of, which may be a payload
	return step, err
}

// told takes note of a store's error. That the rules refuse something is none of the store's; of any other the log has the text.
func told(span trace.Span, err error) {
	var refusal *atmost.Error
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		span.SetAttributes(attrCode.String(string(refusal.Code)))
	case errors.Is(err, atmost.ErrAmbiguous):
		span.SetStatus(codes.Error, "the store does not know whether it was written")
	default:
		span.SetStatus(codes.Error, "the store failed")
	}
}

// link links a request's span, or, if that is not this process's, the claim's, to the one of the attempt that it found.
func link(request, claim trace.Span, to atmost.SpanID) {
	if to == (atmost.SpanID{}) {
		return
	}
	if !request.IsRecording() {
		request = claim
	}
	request.AddLink(trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(to[:16]), SpanID: trace.SpanID(to[16:]), TraceFlags: trace.FlagsSampled, Remote: true,
	})})
}
