"""The pages for people say nothing that is not there: links, targets, commands, flags, files."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from tests.support.sources import PROJECT
from weft.cli import COMMANDS, root

PAGES = [
    *(PROJECT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
    *sorted((PROJECT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)\b")
QUOTED = re.compile(r"`([^`\n]+)`")
IN_TREE = re.compile(
    r"(?:weft|registry|sidecar|ca|proto|examples|bench|tests|docs|\.ci)/[A-Za-z0-9_./-]*|[A-Z]+\.md|Makefile"
)
WEFT = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(weft (?:'[^'\n]*'|[^'|>&#\n])*)", re.M)
PYTHON_MODULE = re.compile(r"python -m ([a-z_.]+)")


def named(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), f"{named(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_exist(page: Path) -> None:
    for target in MAKE.findall("\n".join(code(page))):
        assert target in targets(), f"{named(page)}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    for text in QUOTED.findall(page.read_text()):
        if IN_TREE.fullmatch(text):
            found = list(PROJECT.glob(text.rstrip("/"))) or list(PROJECT.glob(f"*/{text.rstrip('/')}"))
            assert found, f"{named(page)}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_weft_commands_parse(page: Path) -> None:
    lines = WEFT.findall("\n".join(blocks(page).replace("\\\n", " ").splitlines()))
    quoted = [text for text in QUOTED.findall(page.read_text()) if text.startswith("weft ")]
    for line in [*lines, *(text for text in quoted if "…" not in text and "<" not in text)]:
        parse(line, complete=line in lines)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_modules_that_are_run_exist(page: Path) -> None:
    for module in PYTHON_MODULE.findall(blocks(page)):
        path = PROJECT / module.replace(".", "/")
        ours = path.parts[len(PROJECT.parts)] in {entry.name for entry in PROJECT.iterdir()}
        assert not ours or path.is_dir() or path.with_suffix(".py").exists(), f"{named(page)}: {module}"


def test_the_readme_names_the_test_command_that_ci_runs() -> None:
    assert "make test" in blocks(PROJECT / "README.md")
    assert re.search(r"^make test$", (PROJECT / ".ci" / "run").read_text(), re.M)
    assert re.search(r"^make ci-long$", (PROJECT / ".ci" / "run").read_text(), re.M)


def test_the_readmes_claim_about_speed_is_in_the_record() -> None:
    assert "less than half" in (PROJECT / "README.md").read_text()
    record = json.loads((PROJECT / "bench" / "results" / "latest.json").read_text())["sidecar"]
    for workload in ("W1", "W3"):
        weft, envoy = (record[workload][side]["cpu_us_per_request"] for side in ("weft", "envoy"))
        assert weft < envoy / 2, f"{workload}: mend README.md or the sidecar"


def test_every_command_is_named_in_the_readme() -> None:
    text = (PROJECT / "README.md").read_text()
    for name in COMMANDS:
        assert f"weft {name}" in text


def blocks(page: Path) -> str:
    """What a reader may type: indented blocks, and fenced ones in a shell's language."""
    text = page.read_text()
    fenced = re.findall(r"^```(?:bash|console|sh)\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"(?:^    .*\n)+", text, re.M)
    return "\n".join([*fenced, *indented])


def code(page: Path) -> list[str]:
    return [blocks(page), *QUOTED.findall(page.read_text())]


def parse(line: str, complete: bool) -> None:
    """Parses a `weft ...` line without running it; an incomplete one may lack arguments."""
    command: click.Command = root
    words = shlex.split(line)[1:]
    context = click.Context(root, info_name="weft")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"no command: {line}"
        command, context, words = found, click.Context(found, context, info_name=words[0]), words[1:]
    if isinstance(command, click.Group):
        assert words or not complete, f"a group, not a command: {line}"
        return
    try:
        command.make_context(command.name, words, parent=context.parent)
    except click.MissingParameter:
        assert not complete, f"parameters are missing: {line}"
