"""What we import is declared, and what is declared is pinned with all that it brings."""

import importlib.metadata
import re
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.sources import PROJECT, ROOTS, sources

CONFIG = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(text) for text in CONFIG["dependencies"]]
EXTRAS = [Requirement(text) for extra in CONFIG["optional-dependencies"].values() for text in extra]


def test_every_import_of_the_four_roots_is_declared() -> None:
    brings = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    for source in sources():
        for found in source.imports:
            top = found.module.split(".")[0]
            if found.relative or top in sys.stdlib_module_names or top in ROOTS:
                continue
            known = {canonicalize_name(name) for name in brings.get(top, ())}
            assert known & declared, f"{source.path}:{found.line}: {top} is in no dependency"


def test_every_dependency_has_a_lower_bound() -> None:
    for requirement in (*RUNTIME, *EXTRAS):
        assert any(bound.operator == ">=" for bound in requirement.specifier), str(requirement)


def test_constraints_pin_all_that_is_installed_for_us() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.M))
    pins = {canonicalize_name(name) for name in pinned}
    waiting, seen = [*RUNTIME, *EXTRAS], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in pins, f"constraints.txt: pin {name}"
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # the bench extra is installed by `make bench`
        waiting += [Requirement(text) for text in needs]
