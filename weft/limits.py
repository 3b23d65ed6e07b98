"""Bounds that several rooms share. The unit ends the name, the reason follows it."""

CERTIFICATE_BYTES_MAX = 16 * 1024
"""One certificate, DER. An RSA-4096 certificate with many names is below 4 KiB."""

CHAIN_LENGTH_MAX = 4
"""Certificates in a peer's chain: leaf, an intermediate, a cross-signed root, and one to spare."""

CSR_BYTES_MAX = 16 * 1024
"""One certificate signing request, DER; for the same reason as a certificate."""

BUNDLE_ROOTS_MAX = 32
"""Roots of one trust domain. A rotation holds two; more than a few are a mistake."""

INSTANCE_KEY_BYTES_MAX = 512
"""`<datacenter>/<node>/<service id>`: each part is at most 128 bytes, the rest is room."""

PRIVATE_FILE_BYTES_MAX = 1024 * 1024
"""A key, a credential or a cached bundle. What is larger is some other file given by mistake."""

CONFIG_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""One message between registry and sidecar: 100,000 endpoints at about 120 bytes, and some."""

CLOCK_SKEW_S = 60
"""How far clocks of one cluster may differ: certificates are backdated by it."""
