"""`python -m bench`: see the package."""

import sys

import click

from weft.errors import WeftError

from . import (
    envoy,
    idle,
    load,
    mirrors,
    registry,
    registry_api,
    registry_api_report,
    registry_report,
    registry_servers,
    report,
    results,
    run,
)
from .processes import end_on_signals
from .workloads import WORKLOADS

_REGISTRY, _API, _IDLE, _MIRRORS = "registry", "registry-api", "W5", "mirrors"
_PARTS = (*WORKLOADS, _IDLE, _MIRRORS, _REGISTRY, _API)
_PART, _SIDE = click.Choice(_PARTS), click.Choice(list(run.PAIRS))
_IDLE_ROUNDS_MAX = 3  # memory varies little
_MIRROR_PAIRS_PER_S = 42  # of windows: a p99 needs 200,000 requests of each kind, so --rounds 5 --seconds 6


@click.command()
@click.option("--only", multiple=True, type=_PART, help="Only this part; may be repeated.")
@click.option("--side", "wanted", multiple=True, type=_SIDE, help="Only this side; nothing is recorded.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.05, 600), help="Of a run.")
def main(only: tuple[str, ...], wanted: tuple[str, ...], rounds: int, seconds: float) -> None:
    """Sidecars side by side with Envoy, the registry side by side with etcd."""
    end_on_signals()
    workloads = [name for name in WORKLOADS if name in (only or WORKLOADS)]
    try:
        if workloads:
            _sidecar(workloads, wanted or tuple(run.PAIRS), rounds, seconds)
        if _IDLE in (only or [_IDLE]):
            _idle(wanted or tuple(run.PAIRS), min(rounds, _IDLE_ROUNDS_MAX))
        if _MIRRORS in (only or [_MIRRORS]) and not wanted:
            _mirrors(int(rounds * seconds * _MIRROR_PAIRS_PER_S))
        if _REGISTRY in (only or [_REGISTRY]) and not wanted:
            _registry(rounds, seconds)
        if {_REGISTRY, _API} & set(only or [_API]) and not wanted:
            _api(rounds, seconds)
    except WeftError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _sidecar(workloads: list[str], wanted: tuple[str, ...], rounds: int, seconds: float) -> None:
    found = run.compare(workloads, wanted, rounds, seconds, click.echo)
    report.print_table(found)
    if set(run.PAIRS) <= set(wanted):
        _record(found, rounds)


def _idle(wanted: tuple[str, ...], rounds: int) -> None:
    found = idle.compare({name: run.PAIRS[name] for name in wanted}, rounds, click.echo)
    if "ratio" not in found:
        return
    about = results.about(_command(), "bench.idle_callers", rounds, envoy.version())
    kept = results.merge(results.load(), {"idle": {_IDLE: found}})
    kept["about"] = results.merge(kept.get("about", {}), {"idle": {_IDLE: about}})
    results.save(kept)
    report.update_page("idle", idle.markdown(found, report.measured(about)))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


def _mirrors(pairs: int) -> None:
    found = mirrors.measure(max(1, pairs), click.echo)
    about = results.about(_command(), "bench.open_loop", pairs, envoy.version())
    kept = results.merge(results.load(), {"mirrors": found})
    kept["about"] = results.merge(kept.get("about", {}), {"mirrors": about})
    results.save(kept)
    report.update_page("mirrors", mirrors.markdown(found, report.measured(about)))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


def _registry(rounds: int, seconds: float) -> None:
    version = registry_servers.etcd_version()
    found = {**registry.consensus(rounds, seconds, click.echo), "scale": registry.scale(click.echo)}
    registry_report.print_tables(found)
    about = results.about(_command(), "bench.registry_load", rounds, version)
    about["etcd"] = about.pop("envoy")
    kept = results.merge(results.load(), {_REGISTRY: found})
    kept["about"] = results.merge(kept.get("about", {}), {_REGISTRY: about})
    results.save(kept)
    report.update_page(_REGISTRY, registry_report.markdown(found, about))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


def _api(rounds: int, seconds: float) -> None:
    found = registry_api.measure(rounds, seconds, click.echo)
    registry_api_report.print_tables(found)
    about = results.about(_command(), "bench.registry_clients", rounds, "")
    kept = results.merge(results.load(), {_API: found})
    kept["about"] = results.merge(kept.get("about", {}), {_API: about})
    results.save(kept)
    report.update_page(_API, registry_api_report.markdown(found, about))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


def _command() -> str:
    return " ".join(["python -m bench", *sys.argv[1:]])


def _record(found: dict[str, results.Json], rounds: int) -> None:
    version = envoy.version()
    about = {
        name: results.about(_command(), load.generator_name(WORKLOADS[name]), rounds, version)
        for name in found
    }
    kept = results.merge(results.load(), {"sidecar": found})
    kept["about"] = results.merge(kept.get("about", {}), {"sidecar": about})
    results.save(kept)
    report.update_page("sidecar", report.markdown(kept["sidecar"], kept["about"]["sidecar"]))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


if __name__ == "__main__":
    main()
