// Fetch asks a control plane what a gRPC client would ask, from the named listeners on, and writes what
// comes to a directory: for each type TYPE.json to be read, and TYPE.binpb, a DiscoveryResponse.
//
// Version and nonce are left out, and resources are sorted, so that two runs give the same files.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	_ "mesh.interop/go-xds/known"
)

func main() {
	address := flag.String("address", "127.0.0.1:15010", "of the control plane, without TLS")
	nodeFile := flag.String("node", "", "a file with the node, proto-JSON")
	into := flag.String("into", ".", "the directory to write to")
	prefix := flag.String("prefix", "", "put before the names of the files")
	timeout := flag.Duration("timeout", 20*time.Second, "for all of it")
	flag.Parse()
	if flag.NArg() == 0 {
		log.Fatal("no listener is named; usage: fetch [FLAGS] LISTENER...")
	}
	node := new(core.Node)
	if *nodeFile != "" {
		text, err := os.ReadFile(*nodeFile)
		check(err)
		check(protojson.Unmarshal(text, node))
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).StreamAggregatedResources(ctx)
	check(err)

	names := flag.Args()
	for _, step := range steps {
		if len(names) == 0 {
			break
		}
		response := ask(stream, &discovery.DiscoveryRequest{Node: node, TypeUrl: step.kind, ResourceNames: names})
		check(write(response, filepath.Join(*into, *prefix+step.file)))
		names = nil
		for _, packed := range response.Resources {
			message, err := packed.UnmarshalNew()
			check(err)
			names = append(names, step.next(message)...)
		}
		sort.Strings(names)
	}
}

// A gRPC client follows the names from one type to the next.
var steps = []struct {
	kind, file string
	next       func(proto.Message) []string
}{
	{resource.ListenerType, "listeners", routesOf},
	{resource.RouteType, "routes", clustersOf},
	{resource.ClusterType, "clusters", endpointsOf},
	{resource.EndpointType, "endpoints", func(proto.Message) []string { return nil }},
}

func routesOf(message proto.Message) []string {
	given := message.(*listener.Listener)
	packed := given.GetApiListener().GetApiListener()
	if packed == nil {
		return nil
	}
	manager := new(hcm.HttpConnectionManager)
	check(packed.UnmarshalTo(manager))
	if name := manager.GetRds().GetRouteConfigName(); name != "" {
		return []string{name}
	}
	return clustersOf(manager.GetRouteConfig())
}

func clustersOf(message proto.Message) []string {
	seen, names := map[string]bool{}, []string{}
	add := func(name string) {
		if name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, host := range message.(*route.RouteConfiguration).GetVirtualHosts() {
		for _, one := range host.Routes {
			add(one.GetRoute().GetCluster())
			for _, weighted := range one.GetRoute().GetWeightedClusters().GetClusters() {
				add(weighted.Name)
			}
		}
	}
	return names
}

func endpointsOf(message proto.Message) []string {
	given := message.(*cluster.Cluster)
	if given.GetType() != cluster.Cluster_EDS {
		return nil
	}
	if name := given.GetEdsClusterConfig().GetServiceName(); name != "" {
		return []string{name}
	}
	return []string{given.Name}
}

// ask sends a request, waits for its response and accepts that.
func ask(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient, request *discovery.DiscoveryRequest) *discovery.DiscoveryResponse {
	check(stream.Send(request))
	for {
		response, err := stream.Recv()
		if err != nil {
			log.Fatalf("%s %s: %v", request.TypeUrl, strings.Join(request.ResourceNames, ","), err)
		}
		accept := &discovery.DiscoveryRequest{TypeUrl: response.TypeUrl, VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce}
		if response.TypeUrl == request.TypeUrl {
			accept.ResourceNames = request.ResourceNames
			check(stream.Send(accept))
			return response
		}
	}
}

func write(response *discovery.DiscoveryResponse, path string) error {
	response.VersionInfo, response.Nonce, response.ControlPlane = "", "", nil
	sort.Slice(response.Resources, func(a, b int) bool {
		return name(response, a) < name(response, b)
	})
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(response)
	if err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(response)
	if err != nil {
		return err
	}
	// protojson's spaces differ from build to build.
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	fmt.Printf("%s: %d resources\n", path, len(response.Resources))
	if err := os.WriteFile(path+".binpb", raw, 0o644); err != nil {
		return err
	}
	return os.WriteFile(path+".json", indented.Bytes(), 0o644)
}

func name(response *discovery.DiscoveryResponse, n int) string {
	message, err := response.Resources[n].UnmarshalNew()
	check(err)
	return cache.GetResourceName(message)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
