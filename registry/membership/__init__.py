"""An agent's side of its membership: it joins once, keeps its certificate current, and holds its lease.

`files` is what it knows between two starts, `joining` the first word to a server, `schedule` when it asks for
the next certificate and how long it waits after a failure; `keeper` drives the rest.
"""
