"""Sans-IO. What a sidecar decides: who may call, which instance, when one is ejected, when to retry.

Every function here is pure or a small state machine whose time and chance are arguments. `compile` turns
the registry's resources into the frozen `sidecar.snapshot.Snapshot` that the rest reads.
"""
