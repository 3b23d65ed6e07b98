"""The project's own source files, parsed: what the tidy tests look at."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("weft", "registry", "sidecar", "ca")


@dataclass(frozen=True)
class Import:
    """One imported module, absolute. `lazy` is one inside a function, or for the type checker only."""

    module: str
    relative: bool
    lazy: bool
    line: int


@dataclass(frozen=True)
class Source:
    """A module: `name` as Python imports it, `path` relative to the project."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return (PROJECT / self.path).read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def root(self) -> str:
        return self.path.parts[0]

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def at(self, found: Import) -> str:
        """Where an import stands, as editors take it."""
        return f"{self.path}:{found.line}"

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports(self.tree, lazy=False))

    def _imports(self, node: ast.AST, lazy: bool) -> list[Import]:
        found = []
        for child in ast.iter_child_nodes(node):
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types(child)
            if isinstance(child, ast.Import):
                found += [Import(alias.name, False, lazy, child.lineno) for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = self._absolute(child)
                # `from a import b` may import the module a.b: both are named.
                found += [
                    Import(f"{base}.{alias.name}", child.level > 0, lazy, child.lineno)
                    for alias in child.names
                ]
            else:
                found += self._imports(child, inside)
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        kept = package[: len(package) - node.level + 1]
        return ".".join([*kept, node.module] if node.module else kept)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def sources(*roots: str) -> list[Source]:
    """Every module of the given roots (all four by default), without generated code."""
    found = []
    for root in roots or ROOTS:
        for path in sorted((PROJECT / root).rglob("*.py")):
            relative = path.relative_to(PROJECT)
            if relative.parts[:2] == ("weft", "pb"):
                continue
            parts = relative.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Source(name, relative))
    return found


def inside(module: str, *packages: str) -> bool:
    """Is `module` one of `packages`, or within one?"""
    return any(module == package or module.startswith(package + ".") for package in packages)
