"""Sans-IO. HTTP/1.1 (RFC 9112) for a switch whose streams are HTTP/2's.

`reader` frames what was received into heads and pieces of bodies, `decoder` makes of a head the Block that
the switch knows, `encoder` makes of a Block the head of a message. llhttp (by httptools) reads heads; what it
lets pass and a second reader could understand otherwise is refused here (`strict`).
"""
