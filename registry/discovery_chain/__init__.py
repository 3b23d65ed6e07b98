"""Sans-IO. The discovery chain of a service: router -> splitter -> resolver, down to targets.

`compile` makes it of config entries alone; `validate` says whether a change of entries leaves every chain
possible; `shape` is its JSON.
"""
