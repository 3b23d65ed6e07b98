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

SNAPSHOT_AFTER_BYTES = 64 * 1024 * 1024
"""Log written since the last snapshot that makes a new one worth it: about a second of replay."""

SNAPSHOT_SLICE_RECORDS = 64
"""Rows encoded in one go on the event loop: about 1 ms."""
