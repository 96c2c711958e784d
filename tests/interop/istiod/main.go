// Peer: istiod's discovery server, with configuration from a file and no Kubernetes.
//
// It is what Istio's own tests of gRPC run: the real xDS server and generators over a store in memory.
// The binary of istiod cannot be used: at this version it needs an API server, and ends without one.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"istio.io/istio/pilot/test/xds"
	istiolog "istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

func main() {
	port := flag.Int("port", 0, "the loopback port to serve on; 0 is any free one")
	file := flag.String("config", "", "a file of Istio's configuration, YAML")
	flag.Parse()
	config, err := os.ReadFile(*file)
	if err != nil {
		log.Fatalf("-config: %v", err)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	logging := istiolog.DefaultOptions()
	logging.OutputPaths = []string{"stderr"}
	if err := istiolog.Configure(logging); err != nil {
		log.Fatal(err)
	}
	err = test.Wrap(func(t test.Failer) {
		xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			ConfigString:    string(config),
			ListenerBuilder: func() (net.Listener, error) { return listener, nil },
		})
		fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
		// Ends with whoever started it.
		_, _ = io.Copy(io.Discard, os.Stdin)
	})
	if err != nil {
		log.Fatal(err)
	}
}
