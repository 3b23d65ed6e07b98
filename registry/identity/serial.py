"""Certificate serial numbers."""

from ..agent.writer import Entropy

SERIAL_BYTES = 16  # of chance; RFC 5280 allows 20 octets, CA/Browser rules ask for 8


def new_serial(entropy: Entropy) -> int:
    """Positive, of full length, and unpredictable."""
    return int.from_bytes(entropy(SERIAL_BYTES)) | 1 << (8 * SERIAL_BYTES - 1)
