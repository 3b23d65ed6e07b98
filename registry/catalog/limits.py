"""Bounds of what the catalog takes in. The unit ends the name, the reason follows it."""

NAME_CHARS_MAX = 128
"""Names that end up in a SPIFFE id or an instance key: nodes, datacenters, mesh services."""

LABEL_BYTES_MAX = 240
"""Ids and names that only the catalog reads. An instance key (two names and an id) fits its 512 bytes."""

ADDRESS_CHARS_MAX = 253
"""A DNS name in text (RFC 1035, 2.3.4, without the final dot); IP addresses are shorter."""

PATH_BYTES_MAX = 107
"""A Unix socket path: sun_path of Linux less its final NUL."""

TAGS_MAX = 64
"""Tags of one instance; DNS and filters walk them."""

META_PAIRS_MAX = 64
META_KEY_CHARS_MAX = 128
META_VALUE_CHARS_MAX = 512
"""Consul's own bounds, so that what one takes the other takes."""

OUTPUT_CHARS_MAX = 4096
"""A check's output or notes: as much as a person reads; agents truncate to it (Consul: 4 KiB)."""

CHECK_ARGS_MAX = 64
"""Words of a check's command line; a longer one belongs into a file."""

JSON_BYTES_MAX = 64 * 1024
"""An opaque object (Proxy.Config, a header map): it is echoed in every read of the instance."""

SERVICES_PER_COMMAND_MAX = 64
CHECKS_PER_COMMAND_MAX = 256
"""One command is one step of the event loop: at about 80 us a row it stays below 30 ms."""

UPSTREAMS_MAX = 256
"""Destinations of one proxy, one local listener each."""

ROOTS_MAX = 32
"""Roots of all trust domains that this cluster knows; a rotation holds two per domain."""

DESCRIPTION_CHARS_MAX = 512
"""An intention's description (Consul's bound)."""

LEAVES_PER_INSTANCE_MAX = 4096
"""Unexpired certificates of one instance. At a TTL of 72 h that is one a minute; a sidecar renews
every day or so, and each of them would be listed at every peer if the instance were revoked."""

EXPIRED_PER_COMMAND_MAX = 256
"""Rows of a kind that one Expire removes: about 20 ms."""

ANSWERS_PER_GENERATION = 1024  # indexes; two levels of a tree
ANSWER_GENERATIONS_MAX = 16
ANSWER_KEPT_MS = 10 * 60 * 1000
"""Answers kept for retries: those of the last 16,384 commands, for 10 minutes. A client retries within
seconds; the count bounds memory to some MiB. They are forgotten a generation at a time."""

TOMBSTONE_KEPT_MS = 60 * 60 * 1000
"""How long a watch index outlives what it covers: well above the longest blocking query (10 min)."""

COMMAND_BYTES_MAX = 4 * 1024 * 1024
"""One record of the log. The bounds above keep a command far below it."""

OPERATOR_DURATION_MS_MAX = 24 * 60 * 60 * 1000
"""Thresholds about servers: a day without a server's word is no threshold any more."""

KV_KEY_BYTES_MAX = 2048
"""A key: it must fit a request line, and is held once per directory that it is in."""

KV_VALUE_BYTES_MAX = 512 * 1024
"""Consul's bound of a value, so that what one takes the other takes."""

KV_WATCHED_DEPTH_MAX = 8
"""Directories of a key that may be waited for by themselves: a write moves the index of each."""

SESSION_CHECKS_MAX = 64
"""Checks that one session depends on."""

SESSION_TTL_MS_MIN = 10 * 1000
SESSION_TTL_MS_MAX = 24 * 60 * 60 * 1000
LOCK_DELAY_MS_MAX = 60 * 1000
"""Consul's own bounds."""

LOCKS_PER_SESSION_MAX = 4096
"""Keys that go free in one step when their session ends: 0.2 s."""

TXN_OPS_MAX = 64
"""Operations of one transaction (Consul's bound)."""

TXN_RESULT_BYTES_MAX = 2 * 1024 * 1024
"""What a transaction that writes may read: it travels from the leader as one message."""

ANSWER_VALUE_CHARS_MAX = 4096
"""A value that is kept with its answer for retries; 16,384 of longer ones would fill memory."""

EVENTS_MAX = 256
EVENT_PAYLOAD_BYTES_MAX = 512
"""Consul's agents keep as many events, and gossip bounds their payload."""

JOIN_TOKENS_MAX = 100_000
"""Join tokens that have not expired, used ones included: one for each agent of a large machine park."""

JOIN_TOKEN_TTL_MS_MIN = 1000
JOIN_TOKEN_TTL_MS_MAX = 30 * 24 * 60 * 60 * 1000
"""A token that waits for a month in some file is likelier to be found than used."""

REPORTS_PER_COMMAND_MAX = 256
"""Agents that one command says something about: about 20 ms."""
EXPERIMENTS_MAX = 256
"""Running and ended: of a service not more than its sidecars take besides its config entry."""

EXPERIMENTS_PER_SERVICE_MAX = 32
EXPERIMENT_MS_MAX = 24 * 60 * 60 * 1000
"""What runs longer is no experiment: write a service-faults entry."""

EXPERIMENT_KEPT_MS = 60 * 60 * 1000
"""How long an ended one can be looked at."""

REASON_CHARS_MAX = 256

QUERIES_MAX = 10_000
"""Prepared queries: a name is looked up in as many steps as it has characters, whatever there are."""
