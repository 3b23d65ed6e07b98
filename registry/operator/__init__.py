"""What running a cluster takes besides consensus itself.

`formation` brings servers together at their first start, `duties` is what the leader does for the others,
`archive` and `restore` are snapshots as files, `recovery` mends a cluster that has lost its quorum.
"""
