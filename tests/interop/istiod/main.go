// Peer: istiod's discovery server, with configuration from a file and no Kubernetes.
//
// It is what Istio's own tests of gRPC run: the real xDS server and generators over a store in memory.
// The binary of istiod cannot be used: at this version it needs an API server, and ends without one.
//
// The file is read again for each line on stdin: what differs is put into the store, as an edit in Kubernetes
// would be, and `read again` is said.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"os"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	istiolog "istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

func main() {
	port := flag.Int("port", 0, "the loopback port to serve on; 0 is any free one")
	socket := flag.String("socket", "", "a Unix socket to serve on in place of the port")
	file := flag.String("config", "", "a file of Istio's configuration, YAML")
	flag.Parse()
	config, err := os.ReadFile(*file)
	if err != nil {
		log.Fatalf("-config: %v", err)
	}
	listener, where, err := listen(*port, *socket)
	if err != nil {
		log.Fatal(err)
	}
	logging := istiolog.DefaultOptions()
	logging.OutputPaths = []string{"stderr"}
	if err := istiolog.Configure(logging); err != nil {
		log.Fatal(err)
	}
	err = test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			ConfigString:    string(config),
			ListenerBuilder: func() (net.Listener, error) { return listener, nil },
		})
		fmt.Printf("listening %s\n", where)
		// Ends with whoever started it.
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if err := readAgain(server.Store(), *file); err != nil {
				t.Fatalf("%s: %v", *file, err)
			}
			fmt.Println("read again")
		}
	})
	if err != nil {
		log.Fatal(err)
	}
}

// listen says where it listens, too: the port, or the socket's path.
func listen(port int, socket string) (net.Listener, string, error) {
	if socket == "" {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return nil, "", err
		}
		return listener, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), nil
	}
	// One that was killed leaves it.
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, "", err
	}
	listener, err := net.Listen("unix", socket)
	return listener, socket, err
}

// readAgain puts what the file says into the store. What it does not mention any more stays.
func readAgain(store model.ConfigStore, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	configs, _, err := crd.ParseInputs(string(text))
	if err != nil {
		return err
	}
	for _, found := range configs {
		before := store.Get(found.GroupVersionKind, found.Name, found.Namespace)
		if before == nil {
			if _, err := store.Create(found); err != nil {
				return err
			}
			continue
		}
		found.CreationTimestamp, found.ResourceVersion = before.CreationTimestamp, before.ResourceVersion
		if _, err := store.Update(found); err != nil {
			return err
		}
	}
	return nil
}
