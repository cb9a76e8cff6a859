"""The REST API: decode, authenticate, authorise, call one service, answer.

Belongs here: HTTP in every sense: paths, status codes, headers, problem details, OpenAPI.
Doesn't: decisions (that is `services`), wire structs (that is `wire`), pages (that is `web`).
"""
