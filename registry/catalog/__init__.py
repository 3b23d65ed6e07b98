"""Sans-IO. The replicated state machine: what is registered, how healthy it is, who may call whom.

`commands` builds what the log carries, `apply` turns a state and a command into the next state, and `state`
answers queries, each with the index of what it read and the `watches` that say when to read again.
"""
