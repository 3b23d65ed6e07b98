"""What two servers may say to each other, when, and what becomes of anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.replica import limits
from registry.replica.errors import PeerRefused
from registry.replica.lanes import Kind, Lane, Outbox
from registry.replica.opening import PROTOCOL, Known, refusal
from registry.replica.session import MAY_ARRIVE, Phase, Said, Session
from weft.pb.raft.v1 import raft_pb2 as pb

KNOWN = Known("b", "cluster", 3)
HELLO = pb.Hello(cluster_id="cluster", sender="a", receiver="b", address="h:1")
OPENING = pb.Opening(protocol=PROTOCOL, level=3, hello=HELLO)
OPENED = pb.Opened(protocol=PROTOCOL, level=3, accepted=pb.Accepted())


def _pass(sender: Session, receiver: Session) -> list[Said]:
    said: list[Said] = []
    while data := sender.outbox.take(2**30):
        said += receiver.receive(data)
    return said


def _talking() -> tuple[Session, Session]:
    caller, called = Session(Phase.CALLING), Session(Phase.CALLED)
    caller.open(OPENING)
    assert _pass(caller, called) == [OPENING]
    called.accept(OPENED)
    assert _pass(called, caller) == [OPENED]
    return caller, called


def test_messages_and_calls_go_one_way_and_answers_the_other() -> None:
    caller, called = _talking()
    beat, append = pb.Message(heartbeat=pb.Heartbeat(round=1)), pb.Message(append=pb.Append(commit=3))
    chunk = pb.Message(install_snapshot=pb.InstallSnapshot(chunk=b"x" * 200_000))
    call = pb.Call(id=1, command=b"c")
    for said in (chunk, append, beat):
        assert caller.send(said)
    assert caller.call(call)
    assert _pass(caller, called) == [beat, append, call, chunk]
    called.answer(pb.Answer(id=1, index=9))
    assert _pass(called, caller) == [pb.Answer(id=1, index=9)]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", Kind)
def test_what_is_out_of_place_is_refused(phase: Phase, kind: Kind) -> None:
    session, outbox = Session(phase), Outbox()
    outbox.put(Lane.BEAT, kind, b"")
    if kind in MAY_ARRIVE[phase]:
        assert len(session.receive(outbox.take(100))) == 1
    else:
        with pytest.raises(PeerRefused, match=rf"{kind.name.lower()} is out of place here"):
            session.receive(outbox.take(100))


def test_who_closes_says_why_and_nothing_else() -> None:
    caller, called = _talking()
    called.answer(pb.Answer(id=1))
    called.close("x" * 1000)
    assert _pass(called, caller) == [pb.Closing(reason="x" * limits.REASON_CHARS_MAX)]


def test_an_opening_is_small() -> None:
    outbox = Outbox()
    outbox.put(Lane.BEAT, Kind.OPENING, bytes(limits.OPENING_BYTES_MAX + 1))
    with pytest.raises(PeerRefused, match="at most"):
        Session(Phase.CALLED).receive(outbox.take(2**30))


def test_what_waits_is_bounded() -> None:
    caller, _ = _talking()
    for _ in range(limits.LINK_MESSAGES_MAX):
        assert caller.send(pb.Message())
    assert not caller.send(pb.Message())
    caller, _ = _talking()
    big = pb.Call(command=bytes(limits.LINK_BYTES_MAX // 4))
    assert [caller.call(big) for _ in range(6)] == [True] * 4 + [False] * 2
    assert not caller.send(pb.Message())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cluster_id": "another"}, "this is cluster cluster, the caller is of another: check its addresses"),
        ({"cluster_id": ""}, "the caller is of none"),
        ({"receiver": "c"}, "this is server b, not c: remove the old id"),
        ({"sender": "b"}, "two servers must not share a data directory"),
        ({"sender": "x" * 1000}, "no id of its own"),
        ({"address": ""}, "does not say where it is found"),
    ],
)
def test_a_hello_that_does_not_fit_is_refused(change: dict[str, str], why: str) -> None:
    assert refusal(OPENING, KNOWN) == ""
    wrong = pb.Opening()
    wrong.CopyFrom(OPENING)
    for field, value in change.items():
        setattr(wrong.hello, field, value)
    assert why in refusal(wrong, KNOWN)


def test_trap_21_a_server_that_would_halt_at_a_command_in_use_is_not_taken() -> None:
    newer = KNOWN._replace(level=4)
    assert "uses commands of level 4, the caller knows level 3: upgrade it" in refusal(OPENING, newer)
    join = pb.Opening(protocol=PROTOCOL, level=3, join=pb.JoinRequest(server_id="a", address="h:1"))
    assert refusal(join, KNOWN) == ""
    assert "upgrade it" in refusal(join, newer)
    assert refusal(pb.Opening(protocol=PROTOCOL, identify=pb.IdentifyRequest()), newer) == ""


def test_a_server_without_a_cluster_takes_no_raft_messages() -> None:
    assert refusal(OPENING, Known("b", "", 3)) == "server b belongs to no cluster yet"


@given(
    st.sampled_from(Phase),
    st.lists(
        st.tuples(
            st.sampled_from(Lane),
            st.sampled_from(Kind),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from([OPENING, OPENED, pb.Answer(id=1), pb.Call(command=b"x")]).map(
                    lambda it: it.SerializeToString()
                ),
            ),
        ),
        max_size=6,
    ),
)
def test_any_messages_are_taken_or_refused(phase: Phase, messages: list[tuple[Lane, Kind, bytes]]) -> None:
    session, outbox = Session(phase), Outbox()
    for lane, kind, body in messages:
        outbox.put(lane, kind, body)
        try:
            for said in session.receive(outbox.take(2**30)):
                if isinstance(said, pb.Opening):
                    assert isinstance(refusal(said, KNOWN), str)
                    session.accept(OPENED)
        except PeerRefused as error:
            assert "\n" not in str(error)
            return
