"""What clients asked, when, and what they were told."""

from dataclasses import dataclass, field
from typing import Any

NEVER = 1 << 62
"""The return time of an operation whose outcome nobody knows: it may take effect at any time, or never."""


@dataclass(slots=True, eq=False)
class Operation:
    """One operation on one key. `result` is None while, and if, the outcome is unknown."""

    client: str
    key: str
    kind: str  # see model.py
    argument: Any
    called_us: int
    returned_us: int = NEVER
    result: Any = None

    @property
    def unknown(self) -> bool:
        return self.returned_us == NEVER

    def __str__(self) -> str:
        end = "never" if self.unknown else f"{self.returned_us / 1e6:.6f}"
        told = f"{self.kind} {self.key} {self.argument} -> {self.result}"
        return f"[{self.called_us / 1e6:.6f}..{end}] {self.client} {told}"


@dataclass(slots=True)
class History:
    operations: list[Operation] = field(default_factory=list)

    def call(self, client: str, key: str, kind: str, argument: Any, now_us: int) -> Operation:
        operation = Operation(client, key, kind, argument, now_us)
        self.operations.append(operation)
        return operation

    def drop(self, operation: Operation) -> None:
        """Forgets an operation that surely had no effect."""
        self.operations.remove(operation)

    def by_key(self) -> dict[str, list[Operation]]:
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return found
