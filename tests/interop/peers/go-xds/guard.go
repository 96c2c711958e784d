package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// guard is who may come in: over TLS, with a certificate, with a token; or everybody.
type guard struct {
	cert, key, clientCA, token string
}

func (g *guard) flags() {
	flag.StringVar(&g.cert, "cert", "", "serve over TLS with this certificate")
	flag.StringVar(&g.key, "key", "", "the key of -cert")
	flag.StringVar(&g.clientCA, "client-ca", "", "clients must show a certificate of this CA")
	flag.StringVar(&g.token, "token", "", "streams must have the token that is in this file then")
}

func (g *guard) options(events *events) ([]grpc.ServerOption, error) {
	options := []grpc.ServerOption{grpc.StreamInterceptor(g.intercept(events))}
	if g.cert == "" {
		return options, nil
	}
	config := &tls.Config{
		// Read for each handshake: what is rotated serves the next connection.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(g.cert, g.key)
			return &pair, err
		},
	}
	if g.clientCA != "" {
		roots, err := os.ReadFile(g.clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("%s: there is no certificate", g.clientCA)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return append(options, grpc.Creds(credentials.NewTLS(config))), nil
}

func (g *guard) intercept(events *events) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if g.cert != "" {
			events.say(event{"event": "guest", "identity": identity(stream)})
		}
		if g.token != "" {
			want, err := os.ReadFile(g.token)
			if err != nil {
				return err
			}
			given, _ := metadata.FromIncomingContext(stream.Context())
			tokens := given.Get("authorization")
			if len(tokens) != 1 || tokens[0] != "Bearer "+strings.TrimSpace(string(want)) {
				events.say(event{"event": "turned_away", "tokens": len(tokens)})
				return status.Error(codes.Unauthenticated, "this is not the token")
			}
		}
		return handler(service, stream)
	}
}

// The URI of the client's certificate, which was verified; or nothing.
func identity(stream grpc.ServerStream) string {
	from, _ := peer.FromContext(stream.Context())
	secured, _ := from.AuthInfo.(credentials.TLSInfo)
	for _, certificate := range secured.State.PeerCertificates {
		for _, uri := range certificate.URIs {
			return uri.String()
		}
	}
	return ""
}
