"""Experiments in the replicated state: begun once, ended once, kept a while, told to the right sidecars."""

from dataclasses import replace

import pytest

from registry.catalog import commands, experiments, expiry, limits, watches
from registry.catalog.experiment_row import Experiment
from registry.catalog.snapshot import decode, encode
from registry.config_entries.inbound import Abort, FaultRule
from registry.errors import Conflict, InvalidCommand
from registry.mesh.compile import Settings, compile_proxy, depends
from tests.registry.mesh.test_compile import _certificate
from tests.support.catalog import World, proxy, root, service, stamp

ENDS = "2001-09-09T01:46:41Z"  # 1,000,000,001 s
NOW_MS = 1_000_000_000_000
KEY = "dc1/n1/orders-1"


def experiment(name: str = "exp1", on: str = "orders", *stop_if: str, ends: str = ENDS) -> Experiment:
    rule = FaultRule(name=name, abort=Abort(http_status=503), ends_at=ends)
    return Experiment(name, on, experiments.encoded(rule), rule.ends_unix_ms, stop_if=stop_if, owner="me")


@pytest.fixture
def world() -> World:
    world = World.set_up()
    world.do(commands.set_roots(stamp(NOW_MS), [root(certificate_der=_certificate())], 0))
    world.register(service("orders-1", "orders"), proxy("orders-1", "orders"))
    return world


def start(world: World, row: Experiment, now_ms: int = NOW_MS) -> None:
    world.do(experiments.start_experiment(stamp(now_ms), row))


def end(world: World, *names: str, reason: str = "stopped", index: int = 0, now_ms: int = NOW_MS) -> str:
    endings = [(name, index) for name in names]
    return world.attempt(experiments.end_experiments(stamp(now_ms), endings, reason)).answer.value


def faults(world: World) -> list[tuple[str, int]]:
    found = compile_proxy(world.state, KEY, Settings(default_allow=False))["proxy"].proxy.faults
    return [(it.name, it.ends_unix_ms) for it in found]


def test_the_sidecar_is_told_with_the_end_and_no_more_once_it_has_ended(world: World) -> None:
    start(world, experiment())
    assert faults(world) == [("exp1", NOW_MS + 1000)]
    assert end(world, "exp1", "another") == "exp1"
    assert faults(world) == []
    row = world.state.experiments.get(("exp1",))
    assert row is not None
    assert (row.started_ms, row.ended_ms, row.reason, row.owner) == (NOW_MS, NOW_MS, "stopped", "me")
    assert end(world, "exp1") == "", "it has ended already"


def test_only_sidecars_of_the_service_look_again(world: World) -> None:
    key = watches.experiments_on("orders")
    assert key in depends(world.state, KEY)
    assert world.attempt(experiments.start_experiment(stamp(NOW_MS), experiment())).touched >= {key}
    other = world.attempt(experiments.start_experiment(stamp(NOW_MS), experiment("exp2", "audit")))
    assert key not in other.touched


def test_one_of_a_name_runs_at_a_time(world: World) -> None:
    start(world, experiment())
    with pytest.raises(Conflict, match="runs already: stop it"):
        start(world, experiment())
    first = world.state.experiments.get(("exp1",))
    end(world, "exp1")
    start(world, experiment())
    again = world.state.experiments.get(("exp1",))
    assert first and again and again.indexes.create > first.indexes.create
    assert end(world, "exp1", index=first.indexes.create) == "", "who decided by the first leaves the second"
    assert end(world, "exp1", index=again.indexes.create) == "exp1"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (experiment("a b"), "Name"),
        (experiment("exp1", "a/b"), "Service"),
        (experiment("exp1", "orders", "error-rate"), "write error-rate>5%"),
        (experiment("exp1", "orders", *["p99>1s"] * 9), "8 conditions"),
        (experiment(ends="2001-09-09T01:46:40Z"), "ends by itself within 24 hours"),
        (experiment(ends="2001-09-11T01:46:40Z"), "ends by itself within 24 hours"),
        (replace(experiment(), fault=b"{"), "unexpected end of data"),
        (replace(experiment(), fault=experiment().fault.replace(b":503", b": 503")), "canonical"),
        (replace(experiment(), name="exp2"), "another name"),
    ],
)
def test_what_cannot_be_is_refused(world: World, row: Experiment, says: str) -> None:
    with pytest.raises(InvalidCommand, match=says):
        start(world, row)


def test_there_are_not_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXPERIMENTS_PER_SERVICE_MAX", 2)
    monkeypatch.setattr(limits, "EXPERIMENTS_MAX", 3)
    for name in ("exp1", "exp2"):
        start(world, experiment(name))
    with pytest.raises(InvalidCommand, match="2 experiments run on orders"):
        start(world, experiment("exp3"))
    start(world, experiment("exp3", "audit"))
    with pytest.raises(InvalidCommand, match="3 experiments run"):
        start(world, experiment("exp4", "users"))
    end(world, "exp1")
    start(world, experiment("exp4", "users"))
    assert [it.name for it in world.state.experiments.values()] == ["exp2", "exp3", "exp4"]


def test_ended_ones_are_kept_for_an_hour(world: World) -> None:
    start(world, experiment())
    over = NOW_MS + limits.EXPERIMENT_KEPT_MS
    end(world, "exp1")
    world.do(commands.expire(stamp(over - 1)))
    assert ("exp1",) in world.state.experiments
    assert expiry.due(world.state, over)
    world.do(commands.expire(stamp(over)))
    assert ("exp1",) not in world.state.experiments


def test_they_are_in_snapshots(world: World) -> None:
    start(world, experiment("exp1", "orders", "error-rate>5%"))
    start(world, experiment("exp2", "audit"))
    end(world, "exp2")
    found = decode(encode(world.state))
    assert list(found.experiments.values()) == list(world.state.experiments.values())
