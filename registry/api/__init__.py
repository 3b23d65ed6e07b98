"""The HTTP API `/v1`, as Consul's clients know it.

`routes` is the one table of what exists; `dispatch` turns a request into a handler's call and an answer
into bytes; `respond` is the one mapping from errors to statuses. Reads are pure functions of a State,
and `blocking` repeats them when something they read has changed.
"""
