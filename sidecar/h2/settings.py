"""SETTINGS (RFC 9113 section 6.5): what we announce, and what a peer may say."""

from .errors import ConnectionFault, ErrorCode
from .frames import FRAME_BYTES_MAX, WINDOW_MAX

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 0x1, 0x2, 0x3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 0x4, 0x5, 0x6
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441 section 3

FRAME_SIZE_LIMIT = 0xFF_FFFF  # RFC 9113 section 6.5.2

# The protocol's own default, so that no setting is needed: also the bound on what one stalled stream holds.
STREAM_WINDOW_BYTES = 65_535
# One connection carries many streams and is credited on receipt: sixteen of them are sent at full speed. What
# is under way stands before everybody else's answers: with 4 MiB, while one caller asked for 2,000 downloads
# and cut them, again and again, the p99 of the others was 980 ms, with 1 MiB 170 to 200, and now it is 15
# (`proxy.aside`, `proxy.downstream`).
CONNECTION_WINDOW_BYTES = 1024 * 1024
# Over 1000 concurrent calls of one client fit on its one connection.
STREAMS_MAX = 2048
HEADER_LIST_BYTES_MAX = 64 * 1024


def ours(
    client: bool, header_list_max: int = HEADER_LIST_BYTES_MAX, window: int = STREAM_WINDOW_BYTES
) -> dict[int, int]:
    """The settings that we announce; what is as the protocol has it need not be said."""
    if client:
        windows = {} if window == STREAM_WINDOW_BYTES else {INITIAL_WINDOW_SIZE: window}
        return {ENABLE_PUSH: 0, MAX_HEADER_LIST_SIZE: header_list_max, **windows}
    return {
        MAX_CONCURRENT_STREAMS: STREAMS_MAX,
        MAX_HEADER_LIST_SIZE: header_list_max,
        ENABLE_CONNECT_PROTOCOL: 1,
    }


def check(key: int, value: int, from_server: bool) -> None:
    """Raises ConnectionFault where RFC 9113 section 6.5.2 does. Unknown settings are ignored by rule."""
    if key == ENABLE_PUSH and (value > 1 or (from_server and value)):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH is {value}")
    if key == ENABLE_CONNECT_PROTOCOL and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_CONNECT_PROTOCOL is {value}")
    if key == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE is {value}")
    if key == MAX_FRAME_SIZE and not FRAME_BYTES_MAX <= value <= FRAME_SIZE_LIMIT:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE is {value}")
