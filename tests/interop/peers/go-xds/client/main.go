// Peer: grpc-go as an xDS client of mesh.interop.Peer; see ../../README.md.
//
// The control plane is named by GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// How long a call may take.
const limit = 5 * time.Second

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: client TARGET CALLS")
	}
	calls, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	answers, statuses, details := map[string]int{}, map[string]int{}, map[string]string{}
	for range calls {
		address, err := call(connection)
		code := status.Code(err).String()
		statuses[code]++
		if err == nil {
			answers[address]++
		} else if _, known := details[code]; !known {
			details[code] = err.Error()
		}
	}
	said, err := json.Marshal(map[string]any{"answers": answers, "statuses": statuses, "details": details})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(said))
}

// The address that a call was answered from, as the answer says.
func call(connection *grpc.ClientConn) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer := new(wrapperspb.StringValue)
	err := connection.Invoke(ctx, "/mesh.interop.Peer/Unary", new(wrapperspb.StringValue), answer)
	if err != nil {
		return "", err
	}
	var seen struct{ Address string }
	return seen.Address, json.Unmarshal([]byte(answer.Value), &seen)
}
