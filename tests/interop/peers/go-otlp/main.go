// Peer: what an OpenTelemetry Collector makes of OTLP over gRPC, by its own library (pdata).
//
// It says `listening HTTP GRPC`. Over HTTP, /metrics and /traces answer a JSON array of all requests that it took, each
// in OTLP's JSON as the Collector writes it. POST /mode?ok, ?hang, ?busy says what it does with requests from now on:
// takes them, never answers, answers UNAVAILABLE and to come again after 50 ms. It ends with its stdin.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What was taken, and what is done.
type collector struct {
	sync.Mutex
	mode            string
	metrics, traces []string
}

func (c *collector) admit(ctx context.Context) error {
	c.Lock()
	mode := c.mode
	c.Unlock()
	switch mode {
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "busy":
		later := &errdetails.RetryInfo{RetryDelay: durationpb.New(50 * time.Millisecond)}
		busy, err := status.New(codes.Unavailable, "busy").WithDetails(later)
		if err != nil {
			return err
		}
		return busy.Err()
	}
	return nil
}

func (c *collector) take(to *[]string, text []byte, err error) error {
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	c.Lock()
	defer c.Unlock()
	*to = append(*to, string(text))
	return nil
}

type metrics struct {
	pmetricotlp.UnimplementedGRPCServer
	*collector
}

func (m *metrics) Export(ctx context.Context, request pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	if err := m.admit(ctx); err != nil {
		return pmetricotlp.NewExportResponse(), err
	}
	text, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(request.Metrics())
	return pmetricotlp.NewExportResponse(), m.take(&m.collector.metrics, text, err)
}

type traces struct {
	ptraceotlp.UnimplementedGRPCServer
	*collector
}

func (t *traces) Export(ctx context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	if err := t.admit(ctx); err != nil {
		return ptraceotlp.NewExportResponse(), err
	}
	text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(request.Traces())
	return ptraceotlp.NewExportResponse(), t.take(&t.collector.traces, text, err)
}

func main() {
	web, rpc := listen(), listen()
	kept := &collector{mode: "ok"}
	server := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(server, &metrics{collector: kept})
	ptraceotlp.RegisterGRPCServer(server, &traces{collector: kept})
	go func() { log.Fatal(server.Serve(rpc)) }()
	answer := func(from *[]string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			kept.Lock()
			defer kept.Unlock()
			fmt.Fprintf(w, "[%s]", strings.Join(*from, ","))
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", answer(&kept.metrics))
	mux.HandleFunc("GET /traces", answer(&kept.traces))
	mux.HandleFunc("POST /mode", func(_ http.ResponseWriter, r *http.Request) {
		kept.Lock()
		defer kept.Unlock()
		kept.mode = r.URL.RawQuery
	})
	go func() { log.Fatal(http.Serve(web, mux)) }()
	fmt.Printf("listening %d %d\n", web.Addr().(*net.TCPAddr).Port, rpc.Addr().(*net.TCPAddr).Port)
	// Ends with whoever started it.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return listener
}
