# Hot path: bench/hpack.py
"""The Huffman code of HPACK (RFC 7541 appendix B), decoding only.

We never Huffman-code what we write: plain octets cost a few bytes and no CPU time. What a peer coded
goes on as it came, so decoding serves to check it and to read it.

The decoder is an automaton that eats an octet per step. A step is worked out when an octet first meets
a state; steps depend on the code alone, so all connections share them (at most 65,536, some 6 MB).
"""

from typing import Any

from .errors import compression_error

EOS = 256

# The length in bits of the code of each octet, and of EOS last. Lengths are enough: the code is canonical,
# that is, in the order of (length, symbol) each code word is its predecessor plus one.
CODE_LENGTHS = bytes.fromhex(
    "0d171c1c 1c1c1c1c 1c181e1c 1c1e1c1c 1c1c1c1c 1c1c1e1c 1c1c1c1c 1c1c1c1c"
    "060a0a0c 0d06080b 0a0a080b 08060606 05050506 06060606 06060708 0f060c0a"
    "0d060707 07070707 07070707 07070707 07070707 07070707 0807080d 130d0e06"
    "0f050605 06050606 06050707 06060605 06070605 05060707 0707070f 0b0e0d1c"
    "14161414 16161617 16171717 17171817 18181617 18171717 17151617 16171718"
    "16151416 16171715 17161618 15161717 15151615 17161717 14161616 17161617"
    "1a1a1413 16171619 1a1a1a1b 1b1a1819 13151a1b 1b1a1b18 15151a1a 1c1b1b1b"
    "14181415 16151517 16161919 18181a17 1a1b1a1a 1b1b1b1b 1b1c1b1b 1b1b1b1a"
    "1e"
)

Node = list[Any]  # two children by the next bit: a Node, or the symbol of a leaf
Row = list[Any]  # 256 steps: None while unknown, else (next row, decoded text); then [STATE] and [MAY_END]
STATE = 256
MAY_END = 257


def _code_tree() -> Node:
    root: Node = [None, None]
    code = length = 0
    for symbol in sorted(range(EOS + 1), key=lambda symbol: (CODE_LENGTHS[symbol], symbol)):
        code <<= CODE_LENGTHS[symbol] - length
        length = CODE_LENGTHS[symbol]
        _plant(root, code, length, symbol)
        code += 1
    return root


def _plant(node: Node, code: int, length: int, symbol: int) -> None:
    for shift in range(length - 1, 0, -1):
        bit = code >> shift & 1
        node[bit] = node[bit] or [None, None]
        node = node[bit]
    node[code & 1] = symbol


def _row(state: Node, may_end: bool) -> Row:
    return [*[None] * 256, state, may_end]


_ROOT = _code_tree()
_START = _row(_ROOT, True)
_rows: dict[int, Row] = {id(_ROOT): _START}  # by id of the tree's node, which lives for ever


def _padding_nodes() -> None:
    """Padding is the start of EOS, all ones, and shorter than an octet (RFC 7541 section 5.2)."""
    node = _ROOT
    for _ in range(7):
        node = node[1]
        _rows[id(node)] = _row(node, True)


_padding_nodes()


def _learn(row: Row, octet: int) -> tuple[Row, bytes]:
    """Works out and keeps one step."""
    node = row[STATE]
    text = bytearray()
    for shift in range(7, -1, -1):
        node = node[octet >> shift & 1]
        if isinstance(node, int):
            if node == EOS:
                raise compression_error("a Huffman coded string contains EOS")
            text.append(node)
            node = _ROOT
    following = _rows.setdefault(id(node), _row(node, False))
    row[octet] = following, bytes(text)
    return following, bytes(text)


def decode(coded: bytes) -> bytes:
    """The text of a Huffman coded string.

    Raises ConnectionFault(COMPRESSION_ERROR): EOS inside, padding of 8 bits or more, or not of ones.
    """
    row = _START
    text: list[bytes] = []
    append = text.append  # a local: 5 ns of some 45 ns per octet
    octets = iter(coded)
    while True:
        # Known steps are tuples; None fails to unpack. The failure is rarer than a test per octet is dear.
        try:
            for octet in octets:
                row, step = row[octet]
                append(step)
            break
        except TypeError:
            row, step = _learn(row, octet)
            append(step)
    if not row[MAY_END]:
        raise compression_error("a Huffman coded string ends in wrong padding")
    return b"".join(text)
