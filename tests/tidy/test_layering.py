"""The arrows between the roots, and the rooms that do no IO. ARCHITECTURE.md draws them."""

import ast
from collections.abc import Iterator

from tests.support.sources import ROOTS, Source, inside, sources

MAY_IMPORT = {"weft": (), "ca": ("weft",), "registry": ("weft", "ca"), "sidecar": ("weft",)}
"""Root -> the roots it may build on."""

COMPOSITION = "weft.cli"
"""Reaches every root, but only inside functions, so that `weft --help` stays quick."""

SANS_IO = (
    "registry.acl",
    "registry.audit.chain",
    "registry.audit.event",
    "registry.audit.settings",
    "registry.audit.subjects",
    "registry.audit.verify",
    "registry.canary",
    "registry.catalog",
    "registry.chaos",
    "registry.client_agent.cache",
    "registry.client_agent.fleet",
    "registry.client_agent.headers",
    "registry.client_agent.plan",
    "registry.config_entries",
    "registry.discovery_chain",
    "registry.dns.answer",
    "registry.dns.desk",
    "registry.dns.directory",
    "registry.dns.instances",
    "registry.dns.limits",
    "registry.dns.message",
    "registry.dns.names",
    "registry.dns.records",
    "registry.dns.settings",
    "registry.filter",
    "registry.intentions",
    "registry.liveness",
    "registry.measurements",
    "registry.membership.schedule",
    "registry.limits.errors",
    "registry.limits.places",
    "registry.limits.rate",
    "registry.limits.refusals",
    "registry.limits.requests",
    "registry.limits.settings",
    "registry.limits.source",
    "registry.mesh",
    "registry.raft",
    "registry.replica.etcd.layout",
    "registry.replica.etcd.order",
    "registry.replica.lanes",
    "registry.replica.opening",
    "registry.replica.session",
    "registry.replica.wire",
    "sidecar.policy",
    "sidecar.h2",
    "sidecar.http1",
    "ca.authority",
    "ca.bundle",
    "ca.errors",
    "ca.rotation",
    "ca.sealing",
    "ca.server_identity",
)
IO = (
    *("aiohttp", "asyncio", "grpc", "http", "os", "random", "secrets", "select", "selectors", "signal"),
    *("socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid", "uvloop"),
    *("logging", "structlog"),  # a core returns what happened; whoever drives it may log
)

SOURCES = sources()
BY_NAME = {source.name: source for source in SOURCES}
SANS_IO_SOURCES = [source for source in SOURCES if inside(source.name, *SANS_IO)]


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for source in SOURCES:
        for found in source.imports:
            root = found.module.split(".")[0]
            if root not in ROOTS or root == source.root:
                continue
            if inside(source.name, COMPOSITION):
                if not found.lazy:
                    wrong.append(
                        f"{source.at(found)}: import {found.module} inside the function that needs it"
                    )
            elif root not in MAY_IMPORT[source.root]:
                wrong.append(f"{source.at(found)}: {source.root} may not import {root}")
    assert not wrong, "\n".join(wrong)


def test_imports_inside_a_root_are_relative() -> None:
    wrong = [
        f"{source.at(found)}: write the import of {found.module} with dots"
        for source in SOURCES
        for found in source.imports
        if not found.relative and inside(found.module, source.root) and not inside(found.module, "weft.pb")
    ]
    assert not wrong, "\n".join(wrong)


def test_there_are_sans_io_rooms_to_check() -> None:
    for room in SANS_IO:
        assert any(inside(source.name, room) for source in SANS_IO_SOURCES), f"{room} is gone: update SANS_IO"


def test_sans_io_rooms_reach_no_io() -> None:
    wrong = [
        f"{' -> '.join(path)} imports {found}: take what it gives as an argument"
        for source in SANS_IO_SOURCES
        for path, found in reached(source)
        if inside(found, *IO)
    ]
    assert not wrong, "\n".join(wrong)


def reached(source: Source) -> Iterator[tuple[list[str], str]]:
    """Every (path of own modules, imported module) that importing `source` may lead to."""
    seen, waiting = {source.name}, [[source.name]]
    while waiting:
        path = waiting.pop()
        for found in BY_NAME[path[-1]].imports:
            yield path, found.module
            # "a.b.name" is the module a.b, or the module of that name.
            for name in (found.module, found.module.rpartition(".")[0]):
                if name in BY_NAME and name not in seen:
                    seen.add(name)
                    waiting.append([*path, name])


TASK_STARTERS = {"create_task", "ensure_future", "run_coroutine_threadsafe", "TaskGroup"}


def test_only_weft_aio_starts_tasks() -> None:
    wrong = [
        f"{source.path}:{node.lineno}: use weft.aio.Tasks.spawn"
        for source in SOURCES
        if source.name != "weft.aio"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and called(node) in TASK_STARTERS
    ]
    assert not wrong, "\n".join(wrong)


def called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""
