package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/atmost-dev/atmost/telemetry"
)

// tracing exports spans. Nil makes none, and costs nothing.
type tracing struct {
	provider *sdktrace.TracerProvider
	spans    *telemetry.Tracing
}

// flushTime bounds how long the last spans may take to be exported.
const flushTime = 5 * time.Second

// startTracing begins to export spans if the environment asks for it, as OpenTelemetry has it: where to, which, and how often is in
// variables that its SDK reads by itself. A wish that cannot be met is no reason not to serve.
func startTracing(ctx context.Context, env func(string) (string, bool), log *slog.Logger) (*tracing, error) {
	wanted, problem := wantsTraces(env)
	if problem != "" {
		log.Warn("no traces are exported: " + problem)
	}
	if !wanted {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces cannot be exported: %w", err)
	}
	v := buildVersion()
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "atmost"), attribute.String("service.version", v.Version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans are lost", "error", err) }))
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return &tracing{p, telemetry.NewTracing(p)}, nil
}

// wantsTraces reports whether the environment asks for traces, and what it asks for in vain.
func wantsTraces(env func(string) (string, bool)) (wanted bool, problem string) {
	get := func(names ...string) (value string) {
		for _, name := range names {
			v, _ := env(name)
			value = cmp.Or(value, strings.TrimSpace(v))
		}
		return value
	}
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return false, ""
	}
	switch exporter := get("OTEL_TRACES_EXPORTER"); exporter {
	case "":
		if get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
			return false, ""
		}
	case "none":
		return false, ""
	case "otlp":
	default:
		return false, fmt.Sprintf("OTEL_TRACES_EXPORTER is %q; otlp is the only one", exporter)
	}
	if protocol := get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return false, fmt.Sprintf("the protocol is %q; http/protobuf is the only one, at port 4318 of most collectors", protocol)
	}
	return true, ""
}

// maker is what makes spans.
func (t *tracing) maker() *telemetry.Tracing {
	if t == nil {
		return nil
	}
	return t.spans
}

// close exports what is left, within flushTime.
func (t *tracing) close(log *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		log.Warn("the last spans are lost", "error", err)
	}
}
