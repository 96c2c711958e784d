// Peer: a control plane of go-control-plane. It serves ADS, state of the world and delta, on a loopback
// port, and says on stdout what its clients asked and what they were answered, an event a line.
//
// Commands come on stdin, a JSON object a line; see ../README.md. It ends with its stdin.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"

	_ "mesh.interop/go-xds/known"
)

// The longest line that is read from stdin.
const maxCommand = 64 << 20

func main() {
	port := flag.Int("port", 0, "the loopback port to serve on; 0 is any free one")
	dir := flag.String("dir", "", "a directory of *.json, each what `set` takes, served from the start")
	byName := flag.Bool("by-name", false, "take a request without names as no subscription, not as a wildcard")
	pause := flag.Duration("nack-pause", 100*time.Millisecond, "what a NACK waits for; the library sends the same again at once")
	var guard guard
	guard.flags()
	interval := flag.Duration("load-interval", time.Second, "how often clients are to report load")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unknown argument %q; see -help", flag.Arg(0))
	}

	events := newEvents(os.Stdout)
	fleet := newFleet()
	if *dir != "" {
		if err := setFrom(fleet, *dir); err != nil {
			log.Fatal(err)
		}
	}
	// The order of xds_protocol.rst, "Eventual consistency considerations".
	options := []option{sotw.WithOrderedADS()}
	if *byName {
		options = append(options, sotw.DeactivateLegacyWildcard())
	}
	xds := server.NewServer(context.Background(), fleet.cache, watch(events, fleet, *pause), options...)
	guarded, err := guard.options(events)
	if err != nil {
		log.Fatal(err)
	}
	door, err := open(xds, &loads{events: events, interval: *interval}, *port, guarded)
	if err != nil {
		log.Fatal(err)
	}
	events.say(event{"event": "ready", "port": door.port})

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxCommand)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		done, err := obey(lines.Bytes(), fleet, door, events)
		if err != nil {
			events.say(event{"event": "refused", "error": err.Error()})
		}
		if done {
			return
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatalf("stdin: %v; a command is one line of at most %d bytes", err, maxCommand)
	}
}

// One line of stdin: exactly one of its fields is there.
type command struct {
	Set   *set   `json:"set"`
	Clear *clear `json:"clear"`
	// Milliseconds.
	StopServing *int64 `json:"stop_serving"`
	Quit        bool   `json:"quit"`
}

type set struct {
	Version   string            `json:"version"`
	Node      string            `json:"node"`
	Resources []json.RawMessage `json:"resources"`
}

type clear struct {
	Version string `json:"version"`
	Node    string `json:"node"`
}

func obey(line []byte, fleet *fleet, door *door, events *events) (done bool, err error) {
	var given command
	if err := strict(line, &given); err != nil {
		return false, err
	}
	switch {
	case given.Set != nil:
		if err := fleet.set(given.Set); err != nil {
			return false, err
		}
		events.say(event{"event": "set", "node": given.Set.Node, "version": given.Set.Version})
	case given.Clear != nil:
		// Everything is withdrawn: what a client holds must go.
		empty := &set{Version: given.Clear.Version, Node: given.Clear.Node}
		if err := fleet.set(empty); err != nil {
			return false, err
		}
		events.say(event{"event": "cleared", "node": empty.Node, "version": empty.Version})
	case given.StopServing != nil:
		door.close()
		events.say(event{"event": "stopped", "port": door.port})
		time.Sleep(time.Duration(*given.StopServing) * time.Millisecond)
		if err := door.open(); err != nil {
			return true, err
		}
		events.say(event{"event": "ready", "port": door.port})
	case given.Quit:
		return true, nil
	default:
		return false, errors.New("no command; there are set, clear, stop_serving and quit")
	}
	return false, nil
}

func setFrom(fleet *fleet, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s: there is no *.json", dir)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var given set
		if err := strict(text, &given); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := fleet.set(&given); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
