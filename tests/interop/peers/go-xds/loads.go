package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	reporting "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

// loads takes load reports, and asks for those of all clusters, in one interval after the other.
type loads struct {
	reporting.UnimplementedLoadReportingServiceServer
	events   *events
	interval time.Duration
}

func (l *loads) StreamLoadStats(stream reporting.LoadReportingService_StreamLoadStatsServer) error {
	for asked := false; ; asked = true {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
		if err != nil {
			return err
		}
		l.events.say(event{"event": "load", "report": json.RawMessage(text)})
		if asked {
			continue
		}
		answer := &reporting.LoadStatsResponse{
			SendAllClusters:       true,
			LoadReportingInterval: durationpb.New(l.interval),
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}
