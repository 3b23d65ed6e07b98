"""Sans-IO. Raft: messages and ticks go in, one `Ready` plan comes out.

`Node` is the face. Whoever drives it owns the disk, the network and the clock: it calls `tick` at a fixed
rate, `step` for each message that arrives, `propose` and `read` for its clients, and then carries out what
`ready` asks for, in the order that `Ready` states.

Sections cited as §5.4 are of the paper "In Search of an Understandable Consensus Algorithm" (extended
version); those cited as "thesis 6.4" are of Diego Ongaro's dissertation.
"""
