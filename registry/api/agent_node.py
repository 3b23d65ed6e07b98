"""`/v1/agent/{version,host,metrics,reload}`: this process and its machine."""

import os
import platform
import shutil
import socket
import time
from collections import Counter

from weft import __version__

from ..catalog.model import STATUSES
from ..catalog.state import State
from ..limits.refusals import Limit
from ..operator.proxies import REFUSED
from ..replica.port import Status
from .handling import Call
from .respond import Reply
from .views import Json, rfc3339

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def version(call: Call) -> Reply:
    return call.json({"SHA": "", "BuildDate": rfc3339(0), "HumanVersion": __version__, "FIPS": ""})


async def host(call: Call) -> Reply:
    """What the machine has, in bytes and seconds."""
    page, now = os.sysconf("SC_PAGE_SIZE"), call.parts.clock.wall()
    total, available = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    disk = shutil.disk_usage("/")
    uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
    return call.json(
        {
            "Memory": {
                "total": total,
                "available": available,
                "used": total - available,
                "usedPercent": 100 * (total - available) / total,
                "free": available,
            },
            "CPU": [
                {"cpu": number, "modelName": platform.machine()} for number in range(os.cpu_count() or 1)
            ],
            "Host": {
                "hostname": socket.gethostname(),
                "uptime": uptime,
                "bootTime": int(now) - uptime,
                "os": platform.system().lower(),
                "kernelVersion": platform.release(),
                "kernelArch": platform.machine(),
            },
            "Disk": {"path": "/", "total": disk.total, "free": disk.free, "used": disk.used},
            "CollectionTime": int(now * 1e9),
            "Errors": None,
        }
    )


EXCEEDED = "consul.rpc.rate_limit.exceeded"
"""As Consul names what its request limits refuse, with the limit as a label."""


async def reload(call: Call) -> Reply:
    """Definition files are read again: all of what they say is in force, or nothing has changed."""
    if call.parts.definitions:
        await call.parts.definitions.reload()
    call.parts.runner.sync()
    return Reply()


async def metrics(call: Call) -> Reply:
    """Gauges of this server's log and catalog, under the names that Consul's dashboards know; and how often
    its limits were met."""
    if call.query.text("format") == "prometheus":
        found = _prometheus(_gauges(call))
        lines = (f"# TYPE {name} gauge\n{name} {value}\n" for name, value in found)
        text = "".join(lines) + _exceeded(call.parts.limits.counts())
        return Reply(200, text.encode(), PROMETHEUS_TYPE)
    return call.json(metrics_document(call))


def metrics_document(call: Call) -> Json:
    """As agent/metrics tells it."""
    found = _gauges(call)
    moment = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(call.parts.clock.wall()))
    rows: list[Json] = [{"Name": name, "Value": value, "Labels": {}} for name, value in found.items()]
    refused = call.parts.limits.counts()
    counters: list[Json] = [_counter(limit, count) for limit, count in refused.items() if count]
    return {"Timestamp": moment, "Gauges": rows, "Points": [], "Counters": counters, "Samples": []}


def _gauges(call: Call) -> dict[str, float]:
    state = call.parts.log.view()
    if not call.parts.is_server:
        return agent_gauges(state)
    return gauges(call.parts.log.status(), state) | _of_proxies(call)


def agent_gauges(state: State) -> dict[str, float]:
    """Of a machine without a server: what is registered there, and how well it is."""
    statuses = Counter(check.status for check in state.checks.values())
    return {
        "weft.agent.services": len(state.services),
        "weft.agent.checks": len(state.checks),
        **{f"weft.agent.checks.{status}": statuses[status] for status in sorted(STATUSES)},
    }


def gauges(status: Status, state: State) -> dict[str, float]:
    """By name, in Consul's dotted form."""
    return {
        "consul.raft.applied_index": status.applied_index,
        "consul.raft.commit_index": status.commit_index,
        "consul.raft.last_index": status.last_index,
        "consul.raft.leader.lastContact": round(status.last_contact_s * 1000, 3),
        "consul.raft.peers": len(status.peers),
        "consul.raft.term": status.term,
        "consul.server.isLeader": int(status.is_leader),
        "consul.state.config_entries": len(state.config_entries),
        "consul.state.intentions": len(state.intentions),
        "consul.state.kv_entries": len(state.kv),
        "consul.state.nodes": len(state.nodes),
        "consul.state.service_instances": len(state.services),
    }


def _of_proxies(call: Call) -> dict[str, float]:
    """Sidecars that subscribe with this server; agents have none."""
    here = call.parts.proxies.here if call.parts.proxies else ()
    refused = sum(1 for proxy in here if proxy.state == REFUSED)
    return {"weft.mesh.proxies": len(here), "weft.mesh.proxies.refused": refused}


def _prometheus(found: dict[str, float]) -> list[tuple[str, float]]:
    return [(name.replace(".", "_"), value) for name, value in found.items()]


def _exceeded(refused: dict[Limit, int]) -> str:
    """Every limit, also those that were never met: a rate needs a zero to begin with."""
    name = EXCEEDED.replace(".", "_")
    head = f"# HELP {name} Times that a limit was met.\n# TYPE {name} counter\n"
    return head + "".join(
        f'{name}{{limit_type="{limit.value}"}} {count}\n' for limit, count in refused.items()
    )


def _counter(limit: Limit, count: int) -> Json:
    return {"Name": EXCEEDED, "Count": count, "Sum": count, "Labels": {"limit_type": limit.value}}
