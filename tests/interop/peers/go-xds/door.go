package main

import (
	"fmt"
	"log"
	"net"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	reporting "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/config"
	"google.golang.org/grpc"
)

type option = config.XDSOption

// door is the port of the server, which may close for a while.
type door struct {
	xds     discovery.AggregatedDiscoveryServiceServer
	loads   reporting.LoadReportingServiceServer
	port    int
	options []grpc.ServerOption
	server  *grpc.Server
}

func open(xds discovery.AggregatedDiscoveryServiceServer, loads *loads, port int, options []grpc.ServerOption) (*door, error) {
	d := &door{xds: xds, loads: loads, port: port, options: options}
	return d, d.open()
}

func (d *door) open() error {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
	if err != nil {
		return err
	}
	d.port = listener.Addr().(*net.TCPAddr).Port
	server := grpc.NewServer(d.options...)
	d.server = server
	discovery.RegisterAggregatedDiscoveryServiceServer(server, d.xds)
	reporting.RegisterLoadReportingServiceServer(server, d.loads)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	return nil
}

// close ends the connections too, and waits until their streams are gone.
func (d *door) close() {
	d.server.Stop()
}
