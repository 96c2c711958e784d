# Asked over gRPC: who has a token reads, and only a writer writes.
package mesh.authz

users := {"reader": ["GET"], "writer": ["GET", "POST"]}

http := input.attributes.request.http

user := trim_prefix(http.headers.authorization, "Bearer ")

default decision := {
	"allowed": false,
	"http_status": 401,
	"headers": {"www-authenticate": "Bearer"},
	"body": "who are you?",
}

decision := {
	"allowed": true,
	"headers": {"x-user": user},
	"request_headers_to_remove": ["authorization"],
	"response_headers_to_add": {"x-decided-by": "opa"},
} if {
	not odd
	http.method in users[user]
}

decision := {
	"allowed": false,
	"http_status": 403,
	"body": sprintf("%s may not %s %s", [user, http.method, concat("/", input.parsed_path)]),
} if {
	not odd
	users[user]
	not http.method in users[user]
}

# Neither yes nor no: the plugin fails the call.
decision := 17 if odd

odd if input.parsed_path[0] == "odd"
