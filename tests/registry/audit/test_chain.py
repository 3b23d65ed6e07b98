"""Lines of the audit log and what a reader finds out about them."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.audit.chain import GENESIS, LINE_BYTES_MAX, Head, line_of, read_line
from registry.audit.event import Event, Outcome
from registry.audit.verify import Place, Report, verify
from weft.pb.catalog.v1.command_pb2 import Command

NOW_S = 1_800_000_000.0


def lines(count: int, head: Head | None = None) -> list[bytes]:
    found, head = [], head or Head()
    for number in range(count):
        line, head = line_of(Event("PUT /v1/kv/:key", Outcome.DONE, f"/v1/kv/{number}"), NOW_S, 0, head)
        found.append(line[:-1])
    return found


def report(of: list[bytes], expected: Head | None = None) -> Report:
    return verify(((Place("f", at), line) for at, line in enumerate(of, 1)), expected)


def test_a_line_is_json_with_all_that_was_asked_for() -> None:
    command = Command(request_id=b"r" * 16)
    command.change_kv.op.key, command.change_kv.op.value = "a/b", b"hidden"
    event = Event(
        "PUT /v1/kv/:key",
        Outcome.DONE,
        "/v1/kv/a/b",
        "acc",
        "127.0.0.1:9",
        7,
        "72",
        command=command,
        detail={"n": 1},
    )
    text, head = line_of(event, NOW_S, 3, Head())
    found = json.loads(text)
    assert found.pop("hash") == head.hash
    assert found == {
        "seq": 1,
        "prev": GENESIS,
        "time": "2027-01-15T08:00:00.000Z",
        "operation": "PUT /v1/kv/:key",
        "resource": "/v1/kv/a/b",
        "outcome": "done",
        "accessor_id": "acc",
        "source": "127.0.0.1:9",
        "index": 7,
        "request_id": "72",
        "command": "change_kv",
        "subjects": ["key=a/b"],
        "detail": {"n": 1},
        "suppressed": 3,
    }


def test_a_chain_that_is_whole() -> None:
    found = report(lines(5))
    assert (found.wrong, found.lines, found.first_seq, found.head.seq) == ("", 5, 1, 5)
    assert report(lines(5)[2:]).wrong == ""  # the oldest files may be gone
    assert report([]).wrong == ""


def forged(at: int, chain: list[bytes], prev: int | None = None) -> bytes:
    """A line with a right hash of its own, to stand at `at`."""
    before = read_line(chain[(at if prev is None else prev) - 1])
    assert before
    text, _ = line_of(Event("forged", Outcome.DONE), NOW_S, 0, Head(before.seq, before.hash))
    return text[:-1]


Tampering = Callable[[list[bytes]], list[bytes]]
TAMPERED: dict[str, tuple[Tampering, int, str]] = {
    "a byte": (lambda it: [*it[:3], it[3].replace(b"/v1/kv/3", b"/v1/kv/9"), *it[4:]], 4, "changed"),
    "cut short": (lambda it: [*it[:3], it[3][:-1], *it[4:]], 4, "changed"),
    "changed with its hash": (lambda it: [*it[:3], forged(3, it), *it[4:]], 4, "changed"),
    "removed": (lambda it: [*it[:3], *it[4:]], 4, "1 lines before this one were removed"),
    "three removed": (lambda it: [*it[:2], *it[5:]], 3, "3 lines before this one were removed"),
    "inserted": (lambda it: [*it[:3], forged(3, it), *it[3:]], 4, "inserted"),
    "two inserted": (
        lambda it: (add := [*it[:3], forged(3, it)]) + [forged(4, add)] + it[3:],
        4,
        "inserted",
    ),
    "inserted at the end of it": (lambda it: [*it[:4], forged(4, it, 2), *it[4:]], 5, "inserted"),
    "repeated": (lambda it: [*it[:4], it[1], *it[4:]], 5, "inserted"),
    "swapped": (lambda it: [*it[:3], it[4], it[3], *it[5:]], 4, "removed"),
    "of another chain": (lambda it: [*it[:3], lines(2, Head(0, "f" * 64))[0], *it[3:]], 4, "inserted"),
    "the first, made anew": (
        lambda it: [forged(3, it).replace(b'"seq":4', b'"seq":1'), *it[1:]],
        1,
        "changed",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_done_to_it_is_told_with_its_first_line(name: str) -> None:
    tamper, number, told = TAMPERED[name]
    found = report(tamper(lines(8)))
    assert told in found.wrong, found
    assert found.place == Place("f", number)


def test_what_was_cut_off_at_the_end_shows_by_a_head_known_from_elsewhere() -> None:
    whole = lines(8)
    head = report(whole).head
    assert report(whole, head).wrong == ""
    assert report(whole, report(whole[:4]).head).wrong == ""
    assert "removed from the end" in report(whole[:-1], head).wrong
    assert "removed from the end" in report(lines(8, Head(1, "0" * 63 + "1")), head).wrong


def test_a_chain_made_anew_from_a_point_on_shows_by_its_head() -> None:
    whole = lines(6)
    again = [*whole[:3], forged(3, whole)]
    assert report(again).wrong == ""
    assert report(again, report(whole).head).wrong


@given(st.integers(0, 5), st.integers(0, 10_000), st.integers(1, 255))
def test_no_flipped_byte_goes_unseen(number: int, at: int, flip: int) -> None:
    whole = lines(6)
    line = bytearray(whole[number])
    line[at % len(line)] ^= flip
    found = report([*whole[:number], bytes(line), *whole[number + 1 :]], report(whole).head)
    assert found.wrong
    assert found.place and found.place.number in (number + 1, number + 2)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_whatever_bytes_come_the_reader_answers(garbage: list[bytes]) -> None:
    assert bool(report(garbage).wrong) == bool(garbage)


@given(
    st.text(alphabet=st.characters(), max_size=2000),
    st.dictionaries(st.text(max_size=600), st.text(alphabet=st.characters(), max_size=600), max_size=40),
)
def test_whatever_a_caller_sends_is_one_bounded_line(text: str, detail: dict[str, str]) -> None:
    event = Event(text, Outcome.DENIED, text, text, text, 0, text, text, detail)
    line, head = line_of(event, NOW_S, 0, Head())
    assert line.count(b"\n") == 1
    assert len(line) <= LINE_BYTES_MAX
    found = read_line(line[:-1])
    assert found
    assert (found.seq, found.hash, found.is_sound) == (1, head.hash, True)
