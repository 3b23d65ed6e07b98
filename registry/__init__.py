"""The control plane: the catalog of services and their health, intentions, identities, and what each
proxy must do. Rooms that decide are sans-IO; `api`, `rpc`, `agent` and `replica` are their edges.
"""
