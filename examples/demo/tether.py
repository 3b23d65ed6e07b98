"""Becomes another program that dies with its parent: `python -IS tether.py <parent pid> <command>`.

Linux ends a process whose PR_SET_PDEATHSIG is set when the parent is gone, even by SIGKILL, and the
setting survives exec. Elsewhere the command runs untethered and its starter must end it.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != parent:  # it went before the setting was made
            return
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
