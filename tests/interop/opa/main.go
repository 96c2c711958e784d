// opa-peer is OPA itself, its command line and all, with one more plugin: mesh_ext_authz answers
// envoy.service.auth.v3.Authorization/Check by a rule of the policy.
//
// The plugin takes and gives what opa-envoy-plugin does: the input has `attributes` and `parsed_path`, the
// decision is a boolean, or an object with `allowed`, `headers`, `request_headers_to_remove`,
// `response_headers_to_add`, `http_status` and `body`.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/cmd"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/runtime"
	"github.com/open-policy-agent/opa/v1/util"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

const name = "mesh_ext_authz"

func main() {
	runtime.RegisterPlugin(name, factory{})
	if err := cmd.RootCommand.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// config says where it listens, and by which rule it answers: `mesh/authz/decision`.
type config struct {
	Addr string `json:"addr"`
	Path string `json:"path"`
}

type factory struct{}

func (factory) Validate(_ *plugins.Manager, text []byte) (any, error) {
	var parsed config
	err := util.Unmarshal(text, &parsed)
	if err == nil && (parsed.Addr == "" || parsed.Path == "") {
		err = fmt.Errorf("plugins.%s needs addr and path", name)
	}
	return parsed, err
}

func (factory) New(manager *plugins.Manager, parsed any) plugins.Plugin {
	manager.UpdatePluginStatus(name, &plugins.Status{State: plugins.StateNotReady})
	return &plugin{manager: manager, config: parsed.(config), server: grpc.NewServer()}
}

type plugin struct {
	auth.UnimplementedAuthorizationServer
	manager *plugins.Manager
	config  config
	server  *grpc.Server
}

func (p *plugin) Start(context.Context) error {
	listener, err := net.Listen("tcp", p.config.Addr)
	if err != nil {
		return err
	}
	auth.RegisterAuthorizationServer(p.server, p)
	go func() {
		if err := p.server.Serve(listener); err != nil {
			p.manager.Logger().Error("%s: %v", name, err)
		}
	}()
	p.manager.UpdatePluginStatus(name, &plugins.Status{State: plugins.StateOK})
	return nil
}

func (p *plugin) Stop(context.Context) { p.server.Stop() }

func (p *plugin) Reconfigure(context.Context, any) {}

func (p *plugin) Check(ctx context.Context, asked *auth.CheckRequest) (*auth.CheckResponse, error) {
	input, err := input(asked)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	results, err := rego.New(
		rego.Query("data."+strings.ReplaceAll(p.config.Path, "/", ".")),
		rego.Compiler(p.manager.GetCompiler()),
		rego.Store(p.manager.Store),
		rego.Input(input),
	).Eval(ctx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if len(results) == 0 {
		return nil, status.Error(codes.Internal, "the decision is undefined")
	}
	return answer(results[0].Expressions[0].Value)
}

// input is what the policy sees of a request.
func input(asked *auth.CheckRequest) (map[string]any, error) {
	text, err := protojson.Marshal(asked)
	if err != nil {
		return nil, err
	}
	var input map[string]any
	if err := json.Unmarshal(text, &input); err != nil {
		return nil, err
	}
	path, _, _ := strings.Cut(asked.GetAttributes().GetRequest().GetHttp().GetPath(), "?")
	input["parsed_path"] = strings.Split(strings.TrimPrefix(path, "/"), "/")
	return input, nil
}

// decision is what the policy says, where it says more than yes or no.
type decision struct {
	Allowed  bool              `json:"allowed"`
	Headers  map[string]string `json:"headers"`
	Remove   []string          `json:"request_headers_to_remove"`
	Response map[string]string `json:"response_headers_to_add"`
	Status   int32             `json:"http_status"`
	Body     string            `json:"body"`
}

func answer(value any) (*auth.CheckResponse, error) {
	var said decision
	switch value := value.(type) {
	case bool:
		said.Allowed = value
	case map[string]any:
		text, err := json.Marshal(value)
		if err == nil {
			err = json.Unmarshal(text, &said)
		}
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	default:
		return nil, status.Errorf(codes.Internal, "the decision is %T, no boolean and no object", value)
	}
	if said.Allowed {
		yes := &auth.OkHttpResponse{
			Headers:              headers(said.Headers),
			HeadersToRemove:      said.Remove,
			ResponseHeadersToAdd: headers(said.Response),
		}
		return &auth.CheckResponse{
			Status:       &rpc.Status{Code: int32(codes.OK)},
			HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: yes},
		}, nil
	}
	no := &auth.DeniedHttpResponse{Headers: headers(said.Headers), Body: said.Body}
	if said.Status != 0 {
		no.Status = &types.HttpStatus{Code: types.StatusCode(said.Status)}
	}
	return &auth.CheckResponse{
		Status:       &rpc.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: no},
	}, nil
}

func headers(values map[string]string) []*core.HeaderValueOption {
	var options []*core.HeaderValueOption
	for key, value := range values {
		options = append(options, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: key, Value: value},
		})
	}
	return options
}
