package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// The name of the snapshot for every node that has none of its own.
const everyNode = "*"

// fleet holds a snapshot for each node.
type fleet struct {
	cache cache.SnapshotCache

	mu sync.Mutex
	// Snapshots that were set, by node or everyNode.
	given map[string]*cache.Snapshot
	// Nodes that follow everyNode.
	followers map[string]bool
}

func newFleet() *fleet {
	// Not in the cache's own ADS mode: it answers a request by name only when all resources of the
	// snapshot are named, and gRPC's clients name what they need.
	snapshots := cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	return &fleet{cache: snapshots, given: map[string]*cache.Snapshot{}, followers: map[string]bool{}}
}

// set replaces the snapshot of a node; open streams are told. What the resources mean is not checked:
// tests serve wrong ones.
func (f *fleet) set(given *set) error {
	if given.Version == "" || given.Node == "" {
		return fmt.Errorf("version and node are needed; %q is every node without a snapshot of its own", everyNode)
	}
	resources := map[string][]types.Resource{}
	for n, text := range given.Resources {
		var packed anypb.Any
		if err := protojson.Unmarshal(text, &packed); err != nil {
			return fmt.Errorf("resources[%d]: %w", n, err)
		}
		resource, err := packed.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("resources[%d]: %w", n, err)
		}
		if cache.GetResourceName(resource) == "" {
			return fmt.Errorf("resources[%d]: %s is no resource, or has no name", n, packed.TypeUrl)
		}
		resources[packed.TypeUrl] = append(resources[packed.TypeUrl], resource)
	}
	snapshot, err := cache.NewSnapshot(given.Version, resources)
	if err != nil {
		return err
	}
	// Types without resources have the version too, or their removal would not be told.
	for n := range snapshot.Resources {
		snapshot.Resources[n].Version = given.Version
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	f.given[given.Node] = snapshot
	if given.Node != everyNode {
		delete(f.followers, given.Node)
		return f.cache.SetSnapshot(context.Background(), given.Node, snapshot)
	}
	var all error
	for node := range f.followers {
		all = errors.Join(all, f.cache.SetSnapshot(context.Background(), node, snapshot))
	}
	return all
}

// meet gives a node that has no snapshot of its own that of everyNode.
func (f *fleet) meet(node string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.given[node] != nil || f.followers[node] {
		return nil
	}
	f.followers[node] = true
	if snapshot := f.given[everyNode]; snapshot != nil {
		return f.cache.SetSnapshot(context.Background(), node, snapshot)
	}
	return nil
}

// strict reads one JSON value, in which every key is known.
func strict(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
