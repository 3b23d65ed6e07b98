"""How what is given to options is read: every refusal names the option and the mend."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pytest

from weft.cli.options import is_v6, pair, read_given, seconds, seconds_between
from weft.errors import ConfigError


def refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises((click.BadParameter, ConfigError)) as told:
        call()
    shown = told.value.format_message() if isinstance(told.value, click.BadParameter) else str(told.value)
    assert text in shown


def test_a_pair_is_split_at_its_first_mark() -> None:
    assert pair("a=b=c", "--header") == ("a", "b=c")
    assert pair("a=", "--header") == ("a", "")
    for text in ("", "a", "=b", " =b"):
        refused(partial(pair, text, "--meta", "KEY=VALUE"), "write KEY=VALUE")


def test_durations_are_bounded() -> None:
    within = seconds_between(1, 60)
    context = click.Context(click.Command("it"))
    option = click.Option(["--wait"])
    assert within(context, option, "1m") == 60 and seconds("250ms") == 0.25
    for text in ("0s", "61s"):
        refused(partial(within, context, option, text), "between 1s and 1m0s")
    refused(lambda: seconds("soon", "--for"), "--for")


def test_addresses_of_version_six_are_known() -> None:
    assert [is_v6(text) for text in ("::1", "127.0.0.1", "web", "")] == [True, False, False, False]


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "rules.hcl"
    file.write_bytes(b"x" * 10)
    assert read_given(str(file), "--rules-file", 10) == b"x" * 10
    refused(lambda: read_given(str(file), "--rules-file", 9), "--rules-file")
    refused(lambda: read_given(str(file), "--rules-file", 9), "over 9 bytes")
    refused(lambda: read_given(str(tmp_path / "none"), "--rules-file", 9), "check the path")


def test_what_has_no_end_is_no_file() -> None:
    refused(lambda: read_given("/dev/zero", "--rules-file", 1024), "over 1024 bytes")
