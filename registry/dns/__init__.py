"""The DNS face of the catalog: `web.service.consul` and its like, on UDP and TCP.

`names`, `answer` and `message` do no IO; `server` listens, `recursor` asks others about foreign names.
"""
