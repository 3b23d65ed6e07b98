"""Sans-IO. Config entries: a kind is a class whose fields say how they are read, bounded and explained.

`kinds` is the table of kinds; `schema` reads and shows any of them. What entries mean together is decided in
`registry/discovery_chain`, and what one proxy does with them in `registry/mesh`.
"""
