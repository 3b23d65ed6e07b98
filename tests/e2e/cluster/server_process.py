"""`weft` with other numbers: for what tests need and no operator should be able to set.

python -m tests.e2e.cluster.server_process [--snapshot-after-bytes N] [--entries-kept N] [--next-version]
    -- server ...
"""

import argparse
import faulthandler
import signal
import sys

STALL_S = 1.0  # above this the event loop, which is the election timer, was surely held up


def _watch_stalls() -> None:
    """Where the event loop hangs is written to stderr."""
    from registry.replica.driver import Driver

    tick = Driver.tick

    def watched(driver: Driver, count: int) -> None:
        faulthandler.dump_traceback_later(STALL_S)
        tick(driver, count)

    setattr(Driver, "tick", watched)  # noqa: B010 - mypy would not let a method be replaced


def _be_the_next_version() -> None:
    """Autopilot's command as if it came with a level that this version does not know yet."""
    from registry.catalog import apply, commands

    commands.COMMAND_VERSION += 1
    commands.OPERATOR_LEVEL = commands.COMMAND_VERSION
    apply.COMMAND_VERSION = commands.COMMAND_VERSION  # type: ignore[attr-defined]


def main() -> int:
    faulthandler.register(signal.SIGUSR1)  # says where it is: kill -USR1
    parser = argparse.ArgumentParser()
    parser.add_argument("--snapshot-after-bytes", type=int, default=0)
    parser.add_argument("--entries-kept", type=int, default=0)
    parser.add_argument("--next-version", action="store_true")
    split = sys.argv.index("--")
    given = parser.parse_args(sys.argv[1:split])
    # Before anything imports them: they are defaults of arguments elsewhere.
    from registry.replica import limits

    if given.snapshot_after_bytes:
        limits.SNAPSHOT_AFTER_BYTES = given.snapshot_after_bytes
    if given.entries_kept:
        limits.ENTRIES_KEPT = given.entries_kept
    if given.next_version:
        _be_the_next_version()
    _watch_stalls()
    from weft.cli import run

    return run(sys.argv[split + 1 :])


if __name__ == "__main__":
    sys.exit(main())
