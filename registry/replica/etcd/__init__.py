"""The log of the registry in an existing etcd (3.4 or newer), behind the same port as Raft's.

`address` reads the URL; `layout` and `order` hold what is decided without IO: keys, batches, whose turn an
append is, what a failed one means; `client` speaks etcd's API; `seat` is the lease that fences a leader;
`snapshots` writes, reads and trims; `engine` is the port.
"""
