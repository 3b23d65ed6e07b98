"""What can be wrong with HTTP/2 that a peer sends, and how far the damage reaches.

WeftError
└── H2Error
    ├── ConnectionFault      the connection ends with GOAWAY(code)
    └── StreamFault          the stream ends with RST_STREAM(code); the connection goes on
        └── HeaderListTooLarge   the answer is 431 or RESOURCE_EXHAUSTED
"""

from enum import IntEnum

from weft.errors import WeftError


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class H2Error(WeftError):
    """Expected. The peer broke RFC 9113 or a limit of ours; `code` is what it is told."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ConnectionFault(H2Error):
    """Expected. RFC 9113 section 5.4.1: nothing more can be trusted on this connection."""


class StreamFault(H2Error):
    """Expected. RFC 9113 section 5.4.2: one stream ends, its siblings go on."""


class HeaderListTooLarge(StreamFault):
    """Expected. The header list is over our SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2)."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.ENHANCE_YOUR_CALM, reason)


def compression_error(reason: str) -> ConnectionFault:
    """The fault of a block that cannot be decoded: the table is lost and the connection with it."""
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason)
