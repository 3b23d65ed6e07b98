"""The port to consensus, and the engine on Raft that stands behind it.

`port` is all that most of the registry knows. `replica` is the engine's face, for one server or several;
`driver` carries out the core's plans, `machine` applies what they committed. `wal` and `snapshots` are what
is on disk, `transport` and `listener` are how servers talk, `asking` and `leading` how any of them takes any
request. `etcd` is another engine behind the same port.
"""
