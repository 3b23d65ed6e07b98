"""The audit log: every write and every refusal, as JSON lines that hold each other by hashes.

`event` is what happened, `chain` makes lines of it, `verify` reads them back; `log` and `files` write.
"""
