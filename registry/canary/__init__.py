"""Sans-IO. Canaries: what a splitter must be like for one, and which step follows from what was measured.

The entry is `config_entries/canary.py`, the commands are applied by `catalog/canaries.py`, and
`operator/canaries.py` drives them on the leader.
"""
