"""Sans-IO. What the catalog's tables are not sorted by: names whatever their case, and names by address.

Gathered from all rows when asked for, at most once in `REINDEX_S`, so an answer may be that old. Nothing of
it depends on who asks: that is decided afterwards.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..catalog.model import Node, Service
from ..catalog.state import State
from ..catalog.tree import Tree
from .limits import REINDEX_S
from .names import fold

_NO_NODES: Tree[Node] = Tree()
_NO_SERVICES: Tree[Service] = Tree()


@dataclass(slots=True)
class Directory:
    """`nodes` and `services` are the tables that were gathered from, at `at_s`."""

    nodes: Tree[Node] = _NO_NODES
    services: Tree[Service] = _NO_SERVICES
    at_s: float = 0.0
    _folded_nodes: dict[bytes, str] = field(default_factory=dict)
    _folded_services: dict[bytes, str] = field(default_factory=dict)
    _folded_connects: dict[bytes, str] = field(default_factory=dict)
    _nodes_at: dict[str, list[str]] = field(default_factory=dict)
    _services_at: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def node(self, state: State, label: bytes, now_s: float) -> Node | None:
        """The node whose name folds to `label`. One in lower case comes before others."""
        text = label.decode(errors="replace")
        found = state.nodes.get((text,))
        if found is None and state.nodes:
            self._gather(state, now_s)
            found = state.nodes.get((self._folded_nodes.get(label, ""),))
        return found

    def service(self, state: State, label: bytes, now_s: float) -> str:
        """The name of the service that folds to `label`, as the catalog has it."""
        text = label.decode(errors="replace")
        if next(state.services_by_name.prefix((text,)), None):
            return text
        self._gather(state, now_s)
        return self._folded_services.get(label, text)

    def connect(self, state: State, label: bytes, now_s: float) -> str:
        """As `service`; what stands in the mesh for a service need not be registered by its name."""
        text = label.decode(errors="replace")
        if next(state.services_by_connect.prefix((text,)), None):
            return text
        self._gather(state, now_s)
        return self._folded_connects.get(label, text)

    def addressed(self, state: State, label: bytes, now_s: float) -> str:
        """As `connect`; a name that only config entries speak of is found in lower case."""
        text = label.decode(errors="replace")
        return text if (text,) in state.addresses else self.connect(state, label, now_s)

    def nodes_at(self, state: State, address: str, now_s: float) -> Iterable[str]:
        """Names of the nodes that have this address."""
        self._gather(state, now_s)
        return self._nodes_at.get(address, ())

    def services_at(self, state: State, address: str, now_s: float) -> dict[str, set[str]]:
        """Names of services that have instances with this address of their own, and on which nodes."""
        self._gather(state, now_s)
        return self._services_at.get(address, {})

    def _gather(self, state: State, now_s: float) -> None:
        same = self.nodes is state.nodes and self.services is state.services_by_name
        if same or 0 <= now_s - self.at_s < REINDEX_S:
            return
        self.nodes, self.services, self.at_s = state.nodes, state.services_by_name, now_s
        self._folded_nodes, self._nodes_at = {}, {}
        for node in state.nodes.values():
            self._folded_nodes.setdefault(fold(node.name), node.name)
            self._nodes_at.setdefault(node.address, []).append(node.name)
        self._folded_services, self._folded_connects, self._services_at = {}, {}, {}
        last = ""
        for row in state.services_by_name.values():
            if row.name != last:
                last = row.name
                self._folded_services.setdefault(fold(last), last)
            if row.connects_to:
                self._folded_connects.setdefault(fold(row.connects_to), row.connects_to)
            if row.address:
                at = self._services_at.setdefault(row.address, {})
                at.setdefault(row.name, set()).add(row.node)
