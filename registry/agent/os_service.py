"""OS service checks: the state of a systemd unit on this machine."""

import asyncio
import contextlib
import re

from ..catalog.model import CRITICAL, PASSING, WARNING, CheckDefinition
from .status import Outcome

UNIT = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]{0,254}")
"""What systemd takes as a unit's name (systemd.unit(5)), and no option of systemctl."""
OUTPUT_BYTES_MAX = 4096
_STATUS_OF_STATE = {
    "active": PASSING,
    "reloading": WARNING,
    "activating": WARNING,
    "deactivating": WARNING,
}


async def probe_os_service(definition: CheckDefinition) -> Outcome:
    """Active passes, a unit on its way warns, anything else is critical. Raises OSError without systemctl."""
    unit = definition.os_service
    told = await _show(unit)
    properties = dict(line.partition("=")[::2] for line in told.splitlines() if "=" in line)
    state = properties.get("ActiveState", "")
    if not state:
        return Outcome(CRITICAL, f"OS service {unit}: {told.strip() or 'systemctl answered nothing'}")
    if properties.get("LoadState") == "not-found":
        return Outcome(CRITICAL, f"OS service {unit}: no such unit on this machine")
    status = _STATUS_OF_STATE.get(state, CRITICAL)
    return Outcome(status, f"OS service {unit}: {state} ({properties.get('SubState', '')})")


async def _show(unit: str) -> str:
    """What systemctl says, its complaint included."""
    process = await asyncio.create_subprocess_exec(
        *("systemctl", "show", "--property=LoadState,ActiveState,SubState", "--", unit),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        told = await process.stdout.read(OUTPUT_BYTES_MAX)
        await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return told.decode(errors="replace")
