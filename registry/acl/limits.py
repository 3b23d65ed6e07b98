"""Bounds of the access control list. The unit ends the name, the reason follows it."""

NAME_CHARS_MAX = 128
"""Of policies, roles and methods (Consul's bound)."""

DESCRIPTION_CHARS_MAX = 512

LINKS_MAX = 256
"""Policies, roles or identities of one token: each is walked when the token is resolved."""

ROWS_MAX = 100_000
"""Rows of one kind but tokens. More would be a program's mistake, and every list shows all of them."""

TOKENS_MAX = 1_000_000
"""About 1 KiB each."""

TOKEN_TTL_MS_MIN = 60 * 1000
TOKEN_TTL_MS_MAX = 24 * 60 * 60 * 1000
"""Of tokens that expire: Consul's bounds (`acl_token_min_expiration_ttl` and `_max_`)."""

CONFIG_BYTES_MAX = 64 * 1024
"""Of an auth method: some keys and claim mappings."""

SELECTOR_CHARS_MAX = 2048
BIND_NAME_CHARS_MAX = 512
BIND_VARS_MAX = 16
"""Of binding rules: read at each login."""
