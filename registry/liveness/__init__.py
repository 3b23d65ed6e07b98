"""Sans-IO. Whose agent lives: what one server hears, what the leader makes of all that they hear.

`roster` is one server's part, `judge` the leader's, `standing` the table by which it decides. Time is an
argument, in seconds of a monotonic clock; nothing here is written to the log but verdicts.
"""
