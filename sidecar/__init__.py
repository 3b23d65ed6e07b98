"""The data plane: one process beside each service instance, which carries its requests under mutual TLS.

`h2` and `policy` decide and do no IO, `proxy` is the asyncio edge, and the modules here are the shell:
identity, subscription, telemetry, admin port.
"""
