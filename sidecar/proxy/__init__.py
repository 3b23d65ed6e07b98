"""The asyncio edge of the frame switch: listeners, pools, and requests on their way between the two.

`engine.Engine` is the face. `downstream` and `upstream` are the two roles of an HTTP/2 connection,
`exchange` is a request on its way, `outbound` and `inbound` decide about requests, `pool` knows the
instances.
"""
