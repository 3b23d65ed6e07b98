"""Bounds of the log. The unit ends the name, the reason follows it."""

BATCH_COMMANDS_MAX = 64
"""Commands that share one fdatasync: a registration takes about 250 us to apply,
so 16 ms of the event loop, and a sync is shared by enough of them."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""One frame of the log; twice the largest command, so that any command fits."""

PENDING_COMMANDS_MAX = 8192
"""Writes that wait for the disk. More than a second's worth: further ones are refused at once."""

SEGMENT_BYTES = 16 * 1024 * 1024
"""A log file is closed above this: small enough to read whole on recovery."""

RESERVE_BYTES = 1024 * 1024
"""Zeros written ahead of the log at a time. Appending there needs no commit of the file system's journal,
which on a disk that others write to takes milliseconds."""

SNAPSHOT_AFTER_BYTES = 64 * 1024 * 1024
"""Log written since the last snapshot that makes a new one worth it: about a second of replay."""

SNAPSHOT_SLICE_S = 0.002
"""A snapshot is encoded, and restored, for this long before the event loop has its turn: the fan-out to
readers and the election timer run between."""

ENTRIES_KEPT = 8192
"""Entries kept in memory behind a snapshot: a follower that was away for seconds needs no snapshot."""

TICK_S = 0.05
ELECTION_TICKS = 12
"""A leader's death is noticed after 0.6 to 1.2 s: several times the longest stall of an event loop with
100,000 records (0.05 s of CPU, but others may have the core), and short enough to write again within 2 s."""

WAKE_BATCH = 32
"""Readers woken in one turn of the event loop: with half a millisecond each for the answer, 16 ms."""

APPLY_SLICE_S = 0.001
"""Entries are applied for this long before the event loop runs again: it is the election timer, answers leave
meanwhile, and what they bring about can begin."""

FREED_LEAVES = 64
FREED_AFTER_S = 1.0
"""A state that a restore replaced is freed so many leaves (1,500 rows) at a time, 1 ms, once who is reading
it has answered."""

COMMIT_DELAY_S = 0.002
"""How long a commit index waits for entries that carry it to the followers. A client that writes again at
once needs less; whoever reads a follower without asking the leader sees a write this much later."""

PROPOSE_TIMEOUT_S = 10.0
"""How long a write looks for a leader: some elections in a row."""

RETRY_S = 0.05
"""Between two looks for a leader: a tick."""

DISK_FULL_PAUSE_S = 1.0
"""How long a server with a full disk stays silent before it tries the disk again."""

UPKEEP_EVERY_S = 0.5
"""How often a leader looks whether a learner has caught up, and a server whether its address is known."""

FRAME_BYTES_MAX = 64 * 1024
"""A longer message is sent in pieces of this, so that a heartbeat waits for one piece at most."""

WRITE_BYTES_MAX = 256 * 1024
"""Handed to a socket at a time, and what the kernel may hold unsent: what waits beyond it can still be
overtaken by something more urgent."""

PEER_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""What a server takes from another in one message: the largest command, several times."""

OPENING_BYTES_MAX = 64 * 1024
"""What is taken from a caller before it is known which server it is, and as an answer to that."""

REASON_CHARS_MAX = 400
"""Of why a connection is closed: a line of a log."""

LINK_MESSAGES_MAX = 4096
LINK_BYTES_MAX = 64 * 1024 * 1024
"""What waits for one peer. More is dropped, as a network would; the core sends again."""

ANSWERS_BYTES_MAX = 8 * 1024 * 1024
"""Answers that a caller does not read. Above this, nothing more is read from it."""

HANDSHAKES_MAX = 64
"""Callers that have not proven yet who they are; a cluster has 16 members at most."""

CALLS_MAX = PENDING_COMMANDS_MAX
"""Calls of one server that wait for the leader's answer."""

RECONNECT_MIN_S = 0.05
RECONNECT_MAX_S = 1.0
"""Between attempts to reach a peer, doubled each time and drawn from the upper half: a server that is back
is found within an election timeout or two."""

PEER_SILENCE_S = 2.0
"""TCP gives a connection up when bytes, or its own questions on an idle one, stay unanswered for this long:
without it, a healed partition would wait for a retransmission that is backed off by minutes."""

OPENING_TIMEOUT_S = 5.0
"""From the TCP connection until both sides know each other: handshakes queue up on a busy machine."""

INTRODUCTION_TIMEOUT_S = 3.0
"""For one question to a server that may not be there."""
