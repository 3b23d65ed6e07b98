"""Sans-IO. The certificate authority: who gets which certificate, and what it says.

The rules (`authority`, `server_identity`, `bundle`) are pure: time, serial numbers and keys are
arguments. `provider` is the one door to where keys are kept.
"""
