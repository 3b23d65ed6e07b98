"""Header edits, in the order of routes and splits."""

from sidecar.h2.block import Block, Extra, Head, Kind, Literal
from sidecar.h2.primitives import encode_raw
from sidecar.policy.edits import editor_of, rewritten
from sidecar.traffic import NO_EDITS, HeaderEdits

FIELDS = ((b":path", b"/x"), (b"a", b"1"), (b"b", b"2"), (b"a", b"3"))


def test_nothing_to_edit_is_no_editor() -> None:
    assert editor_of(NO_EDITS, HeaderEdits()) is None


def test_remove_then_set_then_add() -> None:
    edits = HeaderEdits(set=(("c", "4"), ("b", "5")), add=(("b", "6"), ("d", "7")), remove=("a", "d"))
    editor = editor_of(edits)
    assert editor is not None
    assert editor.fields(FIELDS) == (
        (b":path", b"/x"), (b"c", b"4"), (b"b", b"5"), (b"b", b"6"), (b"d", b"7"),
    )  # fmt: skip
    assert editor.names == {b"a", b"b", b"c", b"d"}


def test_a_split_edits_what_its_route_has_left() -> None:
    route = HeaderEdits(set=(("x", "route"),), add=(("y", "route"),))
    split = HeaderEdits(set=(("y", "split"),), remove=("x",))
    editor = editor_of(route, split)
    assert editor is not None
    assert editor.fields(FIELDS[:1]) == ((b":path", b"/x"), (b"y", b"split"))


def test_the_peer_is_named() -> None:
    edits = HeaderEdits(set=(("x", "from %DOWNSTREAM_PEER_URI%"),))
    for peer, value in (("spiffe://d/x", b"from spiffe://d/x"), ("-", b"from -")):
        editor = editor_of(edits, peer=peer)
        assert editor is not None and editor.fields(()) == ((b"x", value),)


def test_an_answer_is_edited_also_beside_its_head() -> None:
    head = Head(Kind.RESPONSE, ((b":status", b"200"), (b"a", b"1")))
    head.status, head.content_length = 200, 7
    beside = [Literal(name, encode_raw(b"v"), True) for name in (b"date", b"b")]
    editor = editor_of(HeaderEdits(set=(("b", "2"),), remove=("a",)))
    assert editor is not None
    edited = editor.block(Block(head, Extra.of(beside)))
    assert edited.head.fields == ((b":status", b"200"), (b"b", b"2"))
    assert (edited.head.status, edited.head.content_length) == (200, 7)
    assert [literal.name for literal in edited.extra] == [b"date"]


def test_a_path_is_rewritten_in_its_place() -> None:
    assert rewritten(FIELDS, b"/y")[0] == (b":path", b"/y") and rewritten(FIELDS, b"/y")[1:] == FIELDS[1:]
