"""`python -m bench`: see the package."""

import sys

import click

from weft.errors import WeftError

from . import envoy, load, report, results, run
from .processes import end_on_signals
from .workloads import WORKLOADS

_WORKLOAD, _SIDE = click.Choice(list(WORKLOADS)), click.Choice(list(run.PAIRS))


@click.command()
@click.option("--only", multiple=True, type=_WORKLOAD, help="Only this workload; may be repeated.")
@click.option("--side", "wanted", multiple=True, type=_SIDE, help="Only this side; nothing is recorded.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.05, 600), help="Of a run.")
def main(only: tuple[str, ...], wanted: tuple[str, ...], rounds: int, seconds: float) -> None:
    """Weft side by side with Envoy: CPU per request, latency, memory."""
    end_on_signals()
    try:
        found = run.compare(only or list(WORKLOADS), wanted or list(run.PAIRS), rounds, seconds, click.echo)
        report.print_table(found)
        if set(run.PAIRS) <= set(wanted or run.PAIRS):
            _record(found, rounds)
    except WeftError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _record(found: dict[str, results.Json], rounds: int) -> None:
    command = " ".join(["python -m bench", *sys.argv[1:]])
    version = envoy.version()
    about = {
        name: results.about(command, load.generator_name(WORKLOADS[name]), rounds, version) for name in found
    }
    kept = results.merge(results.load(), {"sidecar": found})
    kept["about"] = results.merge(kept.get("about", {}), {"sidecar": about})
    results.save(kept)
    report.update_page("sidecar", report.markdown(kept["sidecar"], kept["about"]["sidecar"]))
    click.echo(f"recorded in {results.LATEST} and {report.PAGE}")


if __name__ == "__main__":
    main()
