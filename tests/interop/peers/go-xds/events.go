package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
)

type event map[string]any

// events writes one a line, in the order in which they are said.
type events struct {
	mu  sync.Mutex
	out *json.Encoder
	// The node of each open stream: it is named in the first request only.
	nodes map[stream]*core.Node
}

// stream is counted apart for each variant.
type stream struct {
	variant string
	id      int64
}

func newEvents(out io.Writer) *events {
	return &events{out: json.NewEncoder(out), nodes: map[stream]*core.Node{}}
}

func (e *events) say(what event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.out.Encode(what); err != nil {
		log.Fatalf("stdout: %v", err)
	}
}

// meet says of which node a stream is, and whether this request has named it. The library puts the node
// of an earlier request into a later one: it is then the same pointer.
func (e *events) meet(s stream, named *core.Node) (node *core.Node, sent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if named != nil && named != e.nodes[s] {
		e.nodes[s] = named
		return named, true
	}
	return e.nodes[s], false
}

func (e *events) opened(s stream, kind string) error {
	e.say(event{"event": "opened", "variant": s.variant, "stream": s.id, "type": kind})
	return nil
}

func (e *events) closed(s stream, node *core.Node) {
	e.say(event{"event": "closed", "variant": s.variant, "stream": s.id, "node": node.GetId()})
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.nodes, s)
}

// asked says a request, with what the variant adds to it.
func (e *events) asked(s stream, fleet *fleet, named *core.Node, kind, nonce string, fault *status.Status, more event) error {
	node, sent := e.meet(s, named)
	what := event{"event": "request", "variant": s.variant, "stream": s.id, "type": kind, "nonce": nonce,
		"node": node.GetId(), "node_sent": sent, "error_detail": nil}
	if sent {
		what["user_agent"], what["features"] = node.GetUserAgentName(), node.GetClientFeatures()
	}
	if fault != nil {
		what["error_detail"] = event{"code": fault.Code, "message": fault.Message}
	}
	for key, value := range more {
		what[key] = value
	}
	e.say(what)
	return fleet.meet(node.GetId())
}

// The snapshot cache answers a NACK with what was refused, and its client refuses it again: without a
// pause that is thousands of times in a second.
func breathe(fault *status.Status, pause time.Duration) {
	if fault != nil {
		time.Sleep(pause)
	}
}

// watch says everything that happens to the server.
func watch(events *events, fleet *fleet, pause time.Duration) server.Callbacks {
	sotw := func(id int64) stream { return stream{"sotw", id} }
	delta := func(id int64) stream { return stream{"delta", id} }
	return server.CallbackFuncs{
		StreamOpenFunc: func(_ context.Context, id int64, kind string) error {
			return events.opened(sotw(id), kind)
		},
		StreamClosedFunc: func(id int64, node *core.Node) { events.closed(sotw(id), node) },
		StreamRequestFunc: func(id int64, r *discovery.DiscoveryRequest) error {
			more := event{"version": r.VersionInfo, "names": list(r.ResourceNames)}
			err := events.asked(sotw(id), fleet, r.Node, r.TypeUrl, r.ResponseNonce, r.ErrorDetail, more)
			breathe(r.ErrorDetail, pause)
			return err
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discovery.DiscoveryRequest, r *discovery.DiscoveryResponse) {
			names := []string{}
			for _, packed := range r.Resources {
				name := ""
				if resource, err := packed.UnmarshalNew(); err == nil {
					name = cache.GetResourceName(resource)
				}
				names = append(names, name)
			}
			events.say(event{"event": "response", "variant": "sotw", "stream": id, "type": r.TypeUrl,
				"version": r.VersionInfo, "nonce": r.Nonce, "names": names})
		},
		DeltaStreamOpenFunc: func(_ context.Context, id int64, kind string) error {
			return events.opened(delta(id), kind)
		},
		DeltaStreamClosedFunc: func(id int64, node *core.Node) { events.closed(delta(id), node) },
		StreamDeltaRequestFunc: func(id int64, r *discovery.DeltaDiscoveryRequest) error {
			more := event{"subscribe": list(r.ResourceNamesSubscribe),
				"unsubscribe": list(r.ResourceNamesUnsubscribe), "initial_versions": r.InitialResourceVersions}
			err := events.asked(delta(id), fleet, r.Node, r.TypeUrl, r.ResponseNonce, r.ErrorDetail, more)
			breathe(r.ErrorDetail, pause)
			return err
		},
		StreamDeltaResponseFunc: func(id int64, _ *discovery.DeltaDiscoveryRequest, r *discovery.DeltaDiscoveryResponse) {
			names := []string{}
			for _, resource := range r.Resources {
				names = append(names, resource.Name)
			}
			events.say(event{"event": "response", "variant": "delta", "stream": id, "type": r.TypeUrl,
				"version": r.SystemVersionInfo, "nonce": r.Nonce, "names": names, "removed": list(r.RemovedResources)})
		},
	}
}

// list is never null in JSON.
func list(names []string) []string {
	return append([]string{}, names...)
}
