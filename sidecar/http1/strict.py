"""What is refused although parsers disagree about it: request smuggling lives on the difference.

llhttp refuses much of this by itself; it is asked again here where its answer depends on a setting of its
own or on the release. Messages never hold what the peer sent.
"""

import re

from .errors import BadMessage

HEAD_BYTES_MAX = 64 * 1024  # as SETTINGS_MAX_HEADER_LIST_SIZE says on the other side of the bridge
LINE_BYTES_MAX = 16 * 1024  # of a request line: browsers stop at 8 to 64 KiB, servers at 8 KiB
FIELDS_MAX = 128  # of one head; Envoy's default is 100
LENGTH_DIGITS_MAX = 18  # below 2**63: no message is longer
CHUNK_SIZE_DIGITS_MAX = 16
CHUNK_LINE_BYTES_MAX = 256  # a size and its extensions, which nobody uses
# Octets that carry nothing, over what honest framing needs, in one chunked body: a peer that sends chunks of
# one octet with long extensions would make us read 256 octets for one (CVE-2023-39326).
CHUNK_EXCESS_BYTES_MAX = 16 * 1024
TRAILERS_BYTES_MAX = 16 * 1024

_is_request_line = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~\x80-\xff]+ HTTP/1\.[01]").fullmatch
_is_status_line = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t -~\x80-\xff]*)?").fullmatch
_is_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch


def check_head(raw: bytes) -> None:
    """Octets and lines of a whole head or trailer section, its empty line included. Raises BadMessage."""
    lines = raw.count(b"\r\n")
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
        raise BadMessage("a line ends otherwise than in CR LF")
    if b"\0" in raw:
        raise BadMessage("NUL in the head of a message")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise BadMessage("a field is folded over two lines")
    if lines - 2 > FIELDS_MAX:
        raise BadMessage(f"more than {FIELDS_MAX} fields", 431)


def check_beginning(raw: bytes, head_bytes_max: int = HEAD_BYTES_MAX) -> None:
    """A head that is not whole yet: no need to wait for more of what will be refused. Raises BadMessage."""
    if raw.count(b"\n") != raw.count(b"\r\n"):
        raise BadMessage("a line ends otherwise than in CR LF")
    if len(raw) > head_bytes_max:
        raise BadMessage(f"the head of the message is over {head_bytes_max} bytes", 431)
    if len(raw) > LINE_BYTES_MAX and raw.find(b"\r\n", 0, LINE_BYTES_MAX) < 0:
        raise BadMessage(f"the request line is over {LINE_BYTES_MAX} bytes", 414)


def request_line(raw: bytes) -> bytes:
    """The first line. Raises BadMessage."""
    line = raw[: raw.index(b"\r\n")]
    if len(line) > LINE_BYTES_MAX:
        raise BadMessage(f"the request line is over {LINE_BYTES_MAX} bytes", 414)
    if not _is_request_line(line):
        if line.rpartition(b" ")[2].startswith(b"HTTP/") and line.count(b" ") == 2:
            raise BadMessage("the version is not HTTP/1.1 or 1.0", 505)
        raise BadMessage("the request line is malformed")
    return line


def status_line(raw: bytes) -> bytes:
    """The first line of a response. Raises BadMessage."""
    line = raw[: raw.index(b"\r\n")]
    if not _is_status_line(line):
        raise BadMessage("the status line is malformed")
    return line


def content_length(values: list[bytes]) -> int:
    """RFC 9112 section 6.3, rule 5, without its leniency: a repeated field is refused even if equal."""
    if len(values) > 1:
        raise BadMessage("content-length is given twice")
    if not _is_length(values[0]):
        raise BadMessage("content-length is not a number")
    return int(values[0])


def is_chunked(values: list[bytes], version: bytes) -> bool:
    """RFC 9112 section 6.1: chunked and nothing else, so that the end of the body is never in doubt."""
    codings = [coding.strip(b" \t").lower() for value in values for coding in value.split(b",")]
    if version != b"1.1":
        raise BadMessage("transfer-encoding in HTTP/1.0")
    if codings[-1:] != [b"chunked"] or b"chunked" in codings[:-1]:
        raise BadMessage("transfer-encoding does not end in chunked")
    if len(codings) > 1:
        raise BadMessage("a transfer-encoding other than chunked", 501)
    return True


def chunk_size(line: bytes) -> int:
    """RFC 9112 section 7.1; extensions are bounded and ignored. Raises BadMessage."""
    found = _is_chunk_line(line)
    if not found:
        raise BadMessage("a chunk size is malformed")
    return int(found[1], 16)
