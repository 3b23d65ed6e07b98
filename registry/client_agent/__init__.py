"""The agent of a machine without a server: local registrations and checks, told to the servers.

`local_log` is the node's own state behind the port that the API and the checks know, kept in `store`; `plan`
compares it with the servers' and `sync` carries out what differs; `forward` sends everything else of the API
to a server that `fleet` chooses.
"""
