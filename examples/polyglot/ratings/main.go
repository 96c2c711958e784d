// Ratings: chi, and grpc-go on the same port. It asks `shop` by its name, through HTTP_PROXY.
//
// INSTANCE is what it answers as; PORT is where it listens; with SICK=3, every third answer is 503.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var (
	instance = os.Getenv("INSTANCE")
	sick, _  = strconv.ParseInt(os.Getenv("SICK"), 10, 64)
	asked    atomic.Int64
	failed   atomic.Int64
	uri      = regexp.MustCompile("URI=([^;,]+)")
)

func main() {
	router := chi.NewRouter()
	router.Get("/ratings/{product}", ratings)
	router.Get("/failed", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, failed.Load()) })
	router.Post("/count", count)
	rpc := grpc.NewServer()
	rpc.RegisterService(&description, nil)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Protocols: protocols}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			rpc.ServeHTTP(w, r)
		} else {
			router.ServeHTTP(w, r)
		}
	})
	log.Fatal(server.ListenAndServe())
}

// The ratings of a product, and by how many buyers.
func ratings(w http.ResponseWriter, r *http.Request) {
	if n := asked.Add(1); sick > 0 && n%sick == 0 {
		failed.Add(1)
		http.Error(w, "not today", http.StatusServiceUnavailable)
		return
	}
	request, err := http.NewRequestWithContext(r.Context(), "GET", "http://shop/sold/"+chi.URLParam(r, "product"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	var sold map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&sold); err != nil || answer.StatusCode != http.StatusOK {
		http.Error(w, fmt.Sprintf("shop: %s, %v", answer.Status, err), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	err = json.NewEncoder(w).Encode(map[string]any{
		"instance": instance, "caller": caller(r.Header.Values("X-Forwarded-Client-Cert")), "stars": 4,
		"attempt": r.Header.Get("X-Envoy-Attempt-Count"), "shop": sold,
	})
	if err != nil {
		log.Print(err)
	}
}

// Sends the body back as it comes, and says in trailers how long it was, and what was said in its own.
func count(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Length, X-Said")
	// HTTP/1.1 would otherwise wait for the whole request before the first byte goes back.
	_ = http.NewResponseController(w).EnableFullDuplex()
	n, err := io.Copy(w, r.Body)
	if err != nil {
		log.Print(err)
	}
	w.Header().Set("X-Length", strconv.FormatInt(n, 10))
	w.Header().Set("X-Said", r.Trailer.Get("X-Say"))
}

// Who calls, as the server before us has proven it.
func caller(certificates []string) string {
	found := uri.FindStringSubmatch(strings.Join(certificates, ","))
	if found == nil {
		return ""
	}
	return found[1]
}

// What protoc would write; the messages are google.protobuf.StringValue.
var description = grpc.ServiceDesc{
	ServiceName: "polyglot.Ratings",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Caller", Handler: rpcCaller}},
	Streams:     []grpc.StreamDesc{{StreamName: "Echo", Handler: rpcEcho, ServerStreams: true, ClientStreams: true}},
}

func rpcCaller(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	request := new(wrapperspb.StringValue)
	if err := decode(request); err != nil {
		return nil, err
	}
	given, _ := metadata.FromIncomingContext(ctx)
	return wrapperspb.String(request.Value + " " + caller(given.Get("x-forwarded-client-cert"))), nil
}

func rpcEcho(_ any, stream grpc.ServerStream) error {
	for count := 0; ; count++ {
		message := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(message); err == io.EOF {
			stream.SetTrailer(metadata.Pairs("x-count", strconv.Itoa(count)))
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}
