"""Sans-IO. HTTP/2 for a switch: frames, header blocks, settings and windows (RFC 9113, RFC 7541).

Bytes go in, bytes and facts come out; `sidecar.proxy` owns the sockets.
"""
