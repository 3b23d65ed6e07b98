"""Bounds of the log in etcd. The unit ends the name, the reason follows it."""

REQUEST_BYTES_MAX = 1024 * 1024
"""Commands or snapshot in one request. etcd refuses requests of more than 1.5 MiB by default."""

CHUNK_BYTES = 512 * 1024
"""A piece of a snapshot: some milliseconds of etcd's disk, so that writes go on between two."""

BATCH_COMMANDS_MAX = 256
"""Commands in one append. Only one append is under way, so throughput is this many per commit of etcd."""

PAGE_BATCHES = 16
"""Batches, or pieces, in one answer: 16 MiB at most."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""One answer of etcd: a page, and what a watch sends together."""

UNAPPLIED_MAX = 1024
"""Commands appended but not applied here: about a quarter of a second."""

SNAPSHOT_AFTER_BYTES = 64 * 1024 * 1024
"""Log appended since the last snapshot. With the log of one interval kept behind a snapshot, and that of
another not yet compacted, some 200 MiB of etcd's 2 GiB."""

TRIM_STEP_COMMANDS = 4096
"""Log removed in one request: at most as many keys."""

LEASE_TTL_S = 4
"""A leader that is gone is noticed after this; etcd's own election (1 s by default) fits in twice."""

BEAT_S = 1.0
"""Between renewals of the lease: three may be lost."""

CALL_TIMEOUT_S = 2.0
"""One request to one endpoint: above a commit on a slow disk, below the lease."""

OUTAGE_TIMEOUT_S = 6.0
"""How long a write or a read waits for etcd to come back: an election of etcd, and the way to another
endpoint. After so long without an answer further ones are refused at once."""

RETRY_MIN_S = 0.05
RETRY_MAX_S = 1.0
"""Between attempts while etcd does not answer, doubled each time."""

KEEPALIVE_MS = 10_000
"""Between pings on an idle connection; etcd ends one that pings more often than every 5 s."""

VERSION_MIN = (3, 4)
"""The first version whose behaviour at its quota and whose fragments of watches are relied on."""
