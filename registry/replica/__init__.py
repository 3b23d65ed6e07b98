"""The port to consensus and what stands behind it: one server's log, in memory or in a data directory.

`port` is all that the rest of the registry knows; `single` drives the state machine; `store` and
`snapshots` are what is on disk.
"""
