"""What the consensus core costs alone: no disk, no network, no encoding.

    python -m bench.raft

Three servers in one process; 64 writers each keep one command of 256 bytes in the log, so that a batch is
what arrived while the last one travelled. The rate counts commands that all three servers got to apply,
per second of CPU time of all three together.
"""

from collections.abc import Callable
from time import process_time

from registry.raft.config import Config
from registry.raft.memory import MemoryStorage
from registry.raft.messages import SnapshotMeta
from registry.raft.node import Node

WRITERS = 64
COMMAND = bytes(256)
SECONDS = 2.0


class _First:
    def randrange(self, stop: int, /) -> int:
        return 0


def _cluster(size: int) -> tuple[list[Node], list[MemoryStorage]]:
    names = [f"server-{number}" for number in range(size)]
    beginning = SnapshotMeta(config=Config.of(names))
    storages = [MemoryStorage(beginning) for _ in names]
    nodes = [Node(name, storage, chance=_First()) for name, storage in zip(names, storages, strict=True)]
    return nodes, storages


def _settle(nodes: list[Node], storages: list[MemoryStorage]) -> int:
    """Delivers until all is quiet; how many entries were handed out to be applied."""
    by_name = {node.id: node for node in nodes}
    applied = 0
    busy = True
    while busy:
        busy = False
        for node, storage in zip(nodes, storages, strict=True):
            while ready := node.ready():
                busy = True
                storage.write(ready)
                applied += len(ready.committed)
                node.advance(ready)
                for message in (*ready.messages_first, *ready.messages):
                    by_name[message.to].step(message)
            if not busy and node.commit_untold:
                node.tell_commit()
                busy = True
    return applied


def run(size: int, writers: int, seconds: float, clock: Callable[[], float] = process_time) -> float:
    """Commands a second that every one of `size` servers got to apply, on one core for all of them."""
    nodes, storages = _cluster(size)
    nodes[0].campaign()
    _settle(nodes, storages)
    commands = 0
    began = clock()
    while clock() - began < seconds:
        nodes[0].propose([COMMAND] * writers)
        commands += _settle(nodes, storages)
    return commands / size / (clock() - began)


def main() -> None:
    for size in (1, 3, 5):
        for writers in (1, WRITERS):
            rate = run(size, writers, SECONDS)
            print(f"{size} servers, {writers:>2} writers: {rate:>9,.0f} commands per CPU second of all")


if __name__ == "__main__":
    main()
