"""Script checks: programs that really run, and those that must not."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.agent.errors import InvalidDefinition
from registry.agent.probes import Prober
from registry.agent.scripts import OUTPUT_BYTES_DEFAULT, ScriptPolicy, refuse_scripts, run_script
from registry.agent.status import Outcome
from registry.catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition
from tests.registry.agent.test_checks import SOON, becomes
from tests.support.registry import Client, running_registry, until


@pytest.fixture
async def allowing() -> AsyncIterator[Client]:
    async with running_registry(scripts=ScriptPolicy.ALL) as found:
        yield found


async def run(*args: str, timeout_ms: int = 20_000, output_bytes_max: int = 0) -> Outcome:
    return await run_script(
        CheckDefinition(args=args, timeout_ms=timeout_ms, output_bytes_max=output_bytes_max)
    )


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("code", "status"), [(0, PASSING), (1, WARNING), (2, CRITICAL), (137, CRITICAL)])
async def test_the_exit_code_is_the_verdict(code: int, status: str) -> None:
    assert await run("/bin/sh", "-c", f"echo told; echo more >&2; exit {code}") == Outcome(
        status, "told\nmore\n"
    )


async def test_there_is_no_shell(tmp_path: Path) -> None:
    outcome = await run("/bin/echo", f"; touch {tmp_path / 'made'}", "$HOME")
    assert outcome == Outcome(PASSING, f"; touch {tmp_path / 'made'} $HOME\n")
    assert not (tmp_path / "made").exists()


async def test_the_end_of_the_output_is_kept() -> None:
    outcome = await run("/bin/sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; echo the end")
    assert outcome.output.startswith(f"Captured {OUTPUT_BYTES_DEFAULT} of 200008 bytes\n...\n")
    assert outcome.output.endswith("xthe end\n")
    assert outcome.output.count("x") == OUTPUT_BYTES_DEFAULT - len("the end\n")


async def test_output_max_size_keeps_less() -> None:
    outcome = await run("/bin/echo", "0123456789", output_bytes_max=4)
    assert outcome.output == "Captured 4 of 11 bytes\n...\n789\n"


async def test_trap_28_the_whole_process_group_is_killed_when_the_time_is_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = await run(
        "/bin/sh", "-c", f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait", timeout_ms=500
    )
    assert outcome == Outcome(CRITICAL, "Timed out (0.5s) running check")
    left = [int(text) for text in pids.read_text().split()]
    assert len(left) == 2
    await until(lambda: not any(map(alive, left)))


async def test_what_a_script_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    """A child in the background would hold the pipe, and pile up with each interval."""
    pids = tmp_path / "pids"
    outcome = await run("/bin/sh", "-c", f"sleep 600 & echo $! > {pids}; echo done")
    assert outcome == Outcome(PASSING, "done\n")
    left = int(pids.read_text())
    await until(lambda: not alive(left))


async def test_trap_28_a_script_sees_no_secret_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEFT_CA_KEY", "WEFT_TOKEN", "CONSUL_HTTP_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("LC_TIME", "C")
    seen = dict(line.partition("=")[::2] for line in (await run("/usr/bin/env")).output.splitlines())
    assert "hidden" not in seen.values()
    assert (seen["PATH"], seen["LC_TIME"]) == (os.environ["PATH"], "C")


async def test_a_program_that_is_not_there_is_critical_and_says_so() -> None:
    subject = Prober(ScriptPolicy.ALL)
    definition = CheckDefinition(args=("/no/such/program",))
    outcome = await subject.probe(Check("n", "c", "c", type="script", definition=definition))
    await subject.close()
    assert outcome.status == CRITICAL
    assert "/no/such/program" in outcome.output


async def test_a_cancelled_script_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    task = asyncio.ensure_future(run("/bin/sh", "-c", f"echo $$ > {pid}; sleep 600"))
    await until(lambda: pid.exists() and bool(pid.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(int(pid.read_text()))


def test_trap_28_where_scripts_may_come_from() -> None:
    for local in (False, True):
        with pytest.raises(InvalidDefinition, match=r"^Scripts are disabled on this agent; to enable"):
            refuse_scripts(ScriptPolicy.OFF, local=local)
        refuse_scripts(ScriptPolicy.ALL, local=local)
    refuse_scripts(ScriptPolicy.LOCAL, local=True)
    with pytest.raises(InvalidDefinition, match="from remote calls"):
        refuse_scripts(ScriptPolicy.LOCAL, local=False)


async def test_trap_28_the_api_takes_no_scripts_unless_allowed(client: Client) -> None:
    check = {"Name": "c", "Args": ["/bin/true"], "Interval": "1s"}
    for path, body in (
        ("/v1/agent/check/register", check),
        ("/v1/agent/service/register", {"Name": "web", "Check": check}),
    ):
        status, _, text = await client.call("PUT", path, body)
        assert status == 400
        assert text.startswith(b"Scripts are disabled on this agent"), text
    assert await client.get("/v1/agent/services") == {}


async def test_trap_28_no_script_comes_through_the_catalog(allowing: Client) -> None:
    """Whoever may write a node's rows must not run programs there."""
    row = {"Name": "c", "CheckID": "c", "Type": "script", "Definition": {"Args": ["/bin/true"]}}
    body = {"Node": "n1", "Address": "127.0.0.1", "Check": row}
    status, _, text = await allowing.call("PUT", "/v1/catalog/register", body)
    assert (status, b"registered with their agent only" in text) == (400, True)
    step = [{"Check": {"Verb": "set", "Check": row | {"Node": "n1"}}}]
    status, _, text = await allowing.call("PUT", "/v1/txn", step)
    assert (status, b"registered with their agent only" in text) == (400, True)


async def test_a_row_outlives_the_setting_and_does_not_run() -> None:
    subject = Prober()
    definition = CheckDefinition(args=("/bin/true",))
    outcome = await subject.probe(Check("n", "c", "c", type="script", definition=definition))
    await subject.close()
    assert outcome.status == CRITICAL
    assert "Scripts are disabled" in outcome.output


async def test_a_script_check_follows_its_program(allowing: Client, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.write_text("0")
    args = ["/bin/sh", "-c", f"exit $(cat {code})"]
    await allowing.register({"Name": "web", "Check": {"Args": args, **SOON}})
    await becomes(allowing, "service:web", PASSING)
    code.write_text("1")
    await becomes(allowing, "service:web", WARNING)
    code.write_text("3")
    await becomes(allowing, "service:web", CRITICAL)
    assert (await allowing.get("/v1/agent/checks"))["service:web"]["Type"] == "script"
