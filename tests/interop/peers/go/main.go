// Peer: net/http and grpc-go, which answer with what they saw.
//
// The HTTP server speaks HTTP/1.1 and HTTP/2 without TLS: /seen answers a description of the request,
// /echo sends the body back, with its length as a trailer, /calls says how often Unary was called. The
// gRPC server is mesh.interop.Peer; see ../README.md.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	web, rpc := listen(), listen()
	server := grpc.NewServer()
	server.RegisterService(&description, nil)
	go func() { log.Fatal(server.Serve(rpc)) }()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/seen", seen)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/sink", sink)
	mux.HandleFunc("/source/", source)
	mux.HandleFunc("/calls", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, calls.Load()) })
	go func() { log.Fatal((&http.Server{Handler: mux, Protocols: protocols}).Serve(web)) }()
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

func seen(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write(w, map[string]any{
		"protocol": r.Proto, "method": r.Method, "authority": r.Host, "path": r.RequestURI,
		"headers": lower(r.Header), "trailers": lower(r.Trailer), "body_bytes": len(body),
		"connection": r.RemoteAddr, "address": fmt.Sprint(r.Context().Value(http.LocalAddrContextKey)),
	})
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "x-length")
	// HTTP/1.1 would otherwise wait for the whole request before the first byte goes back.
	_ = http.NewResponseController(w).EnableFullDuplex()
	n, _ := io.Copy(w, r.Body)
	w.Header().Set("x-length", strconv.FormatInt(n, 10))
}

func write(w io.Writer, value any) {
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

func lower(headers map[string][]string) map[string]string {
	all := map[string]string{}
	for name, values := range headers {
		all[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return all
}

var description = grpc.ServiceDesc{
	ServiceName: "mesh.interop.Peer",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Bidi", Handler: bidi, ServerStreams: true, ClientStreams: true},
	},
}

// How often Unary was called.
var calls atomic.Int64

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	calls.Add(1)
	request := new(wrapperspb.StringValue)
	if err := decode(request); err != nil {
		return nil, err
	}
	given, _ := metadata.FromIncomingContext(ctx)
	answer := metadata.Pairs("x-trailing", "seen", "x-bytes-bin", "\x00\xff")
	if err := grpc.SetTrailer(ctx, answer); err != nil {
		return nil, err
	}
	if values := given.Get("x-fail"); len(values) > 0 {
		code, err := strconv.Atoi(values[0])
		if err != nil {
			return nil, err
		}
		return nil, status.Error(codes.Code(code), "über 100% of it")
	}
	if len(given.Get("x-fail-first")) > 0 &&
		len(given.Get("grpc-previous-rpc-attempts")) == 0 {
		return nil, status.Error(codes.Unavailable, "the first attempt")
	}
	// Not before: what fails is to be Trailers-Only, for headers commit a call to its attempt (gRFC A6).
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-initial", "seen")); err != nil {
		return nil, err
	}
	if values := given.Get("x-sleep-ms"); len(values) > 0 {
		millis, err := strconv.Atoi(values[0])
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(millis) * time.Millisecond):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	saw := map[string]any{"metadata": lower(given), "message": request.Value, "remaining_ms": nil}
	if call, ok := peer.FromContext(ctx); ok && call.LocalAddr != nil {
		saw["address"] = call.LocalAddr.String()
	}
	if deadline, ok := ctx.Deadline(); ok {
		saw["remaining_ms"] = time.Until(deadline).Milliseconds()
	}
	text, err := json.Marshal(saw)
	return wrapperspb.String(string(text)), err
}

func bidi(_ any, stream grpc.ServerStream) error {
	for n := 0; ; n++ {
		request := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(request); err == io.EOF {
			stream.SetTrailer(metadata.Pairs("x-count", strconv.Itoa(n)))
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(request.Value)); err != nil {
			return err
		}
	}
}
