"""`weft` with other numbers: for what tests need and no operator should be able to set.

python -m tests.e2e.cluster.server_process [--snapshot-after-bytes N] [--entries-kept N] -- server ...
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


def main() -> int:
    faulthandler.register(signal.SIGUSR1)  # says where it is: kill -USR1
    parser = argparse.ArgumentParser()
    parser.add_argument("--snapshot-after-bytes", type=int, default=0)
    parser.add_argument("--entries-kept", type=int, default=0)
    split = sys.argv.index("--")
    given = parser.parse_args(sys.argv[1:split])
    # Before anything imports them: they are defaults of arguments elsewhere.
    from registry.replica import limits

    if given.snapshot_after_bytes:
        limits.SNAPSHOT_AFTER_BYTES = given.snapshot_after_bytes
    if given.entries_kept:
        limits.ENTRIES_KEPT = given.entries_kept
    _watch_stalls()
    from weft.cli import run

    return run(sys.argv[split + 1 :])


if __name__ == "__main__":
    sys.exit(main())
