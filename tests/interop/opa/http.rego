# Asked over HTTP: OPA's own server lets through to its API whoever this policy lets through, and answers
# 401 with the reason otherwise. The API answers 200 about any document, so that is a yes.
package system.authz

default allow := {"allowed": false, "reason": "who are you?"}

allow := {"allowed": true} if "Bearer reader" in input.headers.Authorization

