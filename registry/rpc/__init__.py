"""The gRPC API: registration that mints credentials, certificates, and each sidecar's configuration.

`session` is the delta protocol without IO; `mesh` drives it from the log's watches; `respond` is the one
mapping from errors to gRPC statuses.
"""
