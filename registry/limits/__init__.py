"""How much of the registry one caller may have: rates, connections, blocking queries.

Times are arguments and every table is bounded, so that what counts a flood is no victim of it. `guard` drives
the rest: it has the clock and the log.
"""
