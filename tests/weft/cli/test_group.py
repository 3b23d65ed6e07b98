"""The command line as a whole: what it costs, and how it says no."""

import importlib
import subprocess
import sys

import click
import pytest

from weft import __version__, cli
from weft.errors import ConfigError, InvariantBroken, PortTaken, Unavailable

HEAVY = {"aiohttp", "asyncio", "cryptography", "grpc", "google.protobuf", "rich", "structlog", "uvloop"}


def run(*arguments: str) -> int:
    return cli.run(arguments)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    err = err.removeprefix("\n")  # click ends the line on which ^C stands
    assert err.startswith("weft: ")
    assert err.count("\n") == 1
    return err


def test_help_lists_every_command_and_loads_no_heavy_library() -> None:
    code = (
        "import sys; from weft import cli; cli.run(['--help']); "
        f"print(sorted({HEAVY} & set(sys.modules)), 'loaded')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "[] loaded" in shown
    for name, line in cli.COMMANDS.items():
        assert name in shown
        assert line.split(".")[0][:40] in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_in_the_table_exists_and_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(f"weft.cli.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)
    assert run(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: weft {name}")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_an_unknown_flag_is_one_line_and_exits_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--no-such-flag") == 2
    line = one_line(capsys)
    assert "--no-such-flag" in line
    assert f"weft {name} --help" in line


def test_an_unknown_command_is_one_line_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("frobnicate") == 2
    assert "frobnicate" in one_line(capsys)


def test_no_command_shows_the_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "intention" in capsys.readouterr().err


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"weft {__version__}\n"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """A command `fail` that raises what the test puts in here."""
    raised: dict[str, BaseException] = {}

    @click.command("fail")
    def command() -> None:
        raise raised["error"]

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    return raised


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("flag --ttl: 'x' is no duration;\nuse 72h"), 2),
        (PortTaken("port 8500 is taken"), 1),
        (Unavailable("no registry at 127.0.0.1:8500"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_is_one_line_and_its_own_exit_code(
    error: BaseException, code: int, failing: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing["error"] = error
    assert run("fail") == code
    one_line(capsys)


def test_a_bug_keeps_its_traceback(failing: dict[str, BaseException]) -> None:
    failing["error"] = InvariantBroken("cannot happen")
    with pytest.raises(InvariantBroken):
        run("fail")
