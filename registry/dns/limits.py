"""Sans-IO. Bounds of the DNS face. The unit ends the name, the reason follows it."""

QUESTION_BYTES_MAX = 4096
"""One query. A name is at most 255 bytes and EDNS options some hundred; TCP would allow 64 KiB."""

UDP_BYTES_PLAIN = 512
"""An answer over UDP to who says nothing of its size (RFC 1035, 4.2.1)."""

UDP_BYTES_MAX = 8192
"""An answer over UDP to who says more (RFC 6891). Consul's guides tell HAProxy to say 8192, as it cannot go
on over TCP; larger ones only help who forges a source."""

UDP_BYTES_TOLD = 1232
"""What we say of ourselves: one IPv6 packet that nobody fragments."""

TCP_BYTES_MAX = 65535
"""The length prefix (RFC 1035, 4.2.2)."""

ANSWERS_MAX = 1024
"""Records of an answer over TCP. Writing them takes some 4 ms of the event loop, which is the election timer;
a client that balances over more instances than that is none that asks DNS."""

TCP_CONNECTIONS_MAX = 256
TCP_CONNECTIONS_PER_SOURCE_MAX = 64
"""A resolver holds one or two; each costs a task and some KiB."""

TCP_IDLE_S = 10.0
"""Between queries, and for taking an answer (RFC 7766, 6.2.3: seconds)."""

QUERIES_PER_S = 2000
QUERIES_BURST = 4000
"""Of one source (an IPv4 address, an IPv6 /64). Beyond that UDP is not answered, so that a forged source gets
little, and TCP waits. 2,000 are about a quarter of one core."""

RECURSIONS_MAX = 256
"""Questions under way at recursors; one more is answered SERVFAIL."""

RECURSOR_TIMEOUT_S = 2.0
"""For each recursor in turn, as Consul."""

RECURSORS_MAX = 8
"""More than a client would wait for."""

REINDEX_S = 1.0
"""How often names by address are gathered anew: all rows are looked at, 30 ms for 100,000."""

TXT_BYTES_MAX = 255
"""One string of a TXT record (RFC 1035, 3.3)."""

INSTANCES_KEPT_MAX = 20_000
"""Instances remembered in the form that answers need: about half a KiB each."""
