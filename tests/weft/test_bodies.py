"""Bodies that come in pieces: read to the end or to the bound, and not a byte less."""

import pytest

from weft.bodies import BodyTooLarge, read_up_to, read_whole


class Pieces:
    """Gives no more at once than has arrived."""

    def __init__(self, *pieces: bytes) -> None:
        self._left = list(pieces)

    async def read(self, n: int = -1, /) -> bytes:
        piece = self._left.pop(0) if self._left else b""
        if n < len(piece):
            self._left.insert(0, piece[n:])
        return piece[:n]


@pytest.mark.parametrize("most", [6, 7, 100])
async def test_a_body_in_pieces_is_read_whole(most: int) -> None:
    assert await read_whole(Pieces(b"ab", b"c", b"def"), most) == b"abcdef"


async def test_more_than_was_asked_for_is_refused_or_left() -> None:
    with pytest.raises(BodyTooLarge, match="more than 5 bytes"):
        await read_whole(Pieces(b"ab", b"c", b"def"), 5)
    left = Pieces(b"ab", b"c", b"def")
    assert await read_up_to(left, 5) == b"abcde"
    assert await read_up_to(left, 5) == b"f"
