"""Who gets which proof: credentials of instances, leaves of the CA, the registry's own certificate.

`ca` has the rules; this room binds them to the catalog: a credential must be in force, the root must
still be the one that signed, and a leaf is recorded before it is handed out.
"""
