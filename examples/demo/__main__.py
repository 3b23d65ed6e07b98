"""`python -m examples.demo [--once]`: exit 0 when every step was verified, else 1; 130 on Ctrl-C."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from weft.aio import Tasks

from .errors import StepFailed
from .mesh import Mesh
from .narrator import Narrator
from .ports import HOST
from .processes import Processes
from .story import Story

INTERRUPTED = 130  # 128 + SIGINT, as shells count


async def tell(story: Story, mesh: Mesh, narrator: Narrator) -> bool:
    """Runs the steps until one fails; answers whether none did."""
    for number, (title, step) in enumerate(story.steps(), 1):
        narrator.chapter(title)
        try:
            await step()
            mesh.check_alive()
        except StepFailed as error:
            narrator.failed(f"step {number} ({title}): {error}")
            return False
    return True


async def stay(mesh: Mesh, narrator: Narrator) -> None:
    """Leaves everything running until someone interrupts."""
    http, upstream = mesh.registry.http, mesh.web.app_port
    narrator.title("\nIt goes on running. Try, in another terminal:")
    for line in (
        f"curl http://{http}/v1/health/service/orders?passing",
        f'curl -X PUT -d \'{{"Action":"deny"}}\' '
        f"'http://{http}/v1/connect/intentions/exact?source=web&destination=orders'",
        f"curl http://{HOST}:{mesh.web.admin_port}/config   # web's sidecar; also /metrics and /ready",
        f"web itself speaks gRPC (shop.v1.Web, examples/proto) on {HOST}:{upstream}",
    ):
        narrator.say(line)
    narrator.title("Ctrl-C ends it.")
    await asyncio.Event().wait()


async def run(once: bool, narrator: Narrator, processes: Processes, folder: Path) -> bool:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    mesh, tasks = Mesh(processes, folder, narrator), Tasks()
    story = Story(mesh, narrator, tasks)
    try:
        verified = await tell(story, mesh, narrator)
        await story.close()
        if verified and not once:
            await stay(mesh, narrator)
        return verified
    finally:
        await tasks.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="A service mesh on this machine, told step by step."
    )
    parser.add_argument("--once", action="store_true", help="end after the last step")
    once = parser.parse_args().once
    narrator, start = Narrator(), time.monotonic()
    narrator.title("Weft: a service mesh on this machine, told step by step")
    with tempfile.TemporaryDirectory(prefix="weft-demo-") as name:
        processes = Processes(Path(name))
        try:
            verified = asyncio.run(run(once, narrator, processes, Path(name)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return INTERRUPTED
        finally:
            unclean = processes.stop()
    if verified and unclean:
        narrator.failed(f"did not end as asked: {', '.join(unclean)}")
        return 1
    if verified:
        narrator.title(f"\nEvery step was verified, in {time.monotonic() - start:.0f} s. No process is left.")
    return 0 if verified else 1


if __name__ == "__main__":
    sys.exit(main())
