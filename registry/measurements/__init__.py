"""Sans-IO. What sidecars measure of the calls between services, added up over the last minute.

It is of passing worth: held in memory, by the leader for all servers, and never in the log.
"""
