module github.com/grpc-ecosystem/grpcdebug

go 1.22
