"""The command line: the composition root, and the only place that may reach every other root.

Each command is a module here that exports `command` (a click command or group). The table below lists
them, so that help needs to import none of them; a command imports the roots it starts inside its
functions.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .. import __version__
from ..errors import InvariantBroken, WeftError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "dev": "Run registry, CA and API on this machine, from nothing.",
    "server": "Run a registry server: one of a cluster that loses nothing.",
    "agent": "Run the agent of one machine: its services, its checks, the API for its programs.",
    "sidecar": "Run the sidecar of one service instance.",
    "services": "Register and deregister services of this node.",
    "drain": "Take an instance out of use without failing a request.",
    "maint": "Maintenance of this node or of one service.",
    "catalog": "Look into the catalog: services, nodes, instances.",
    "intention": "Say which service may call which.",
    "canary": "Move calls to a new version step by step, and back by itself.",
    "config": "Config entries: routing, defaults, permissions, faults, limits.",
    "graph": "Draw who calls whom, how often, and how well.",
    "chaos": "Do harm on purpose, for a while: aborts, delays, resets.",
    "explain": "Say what would become of a request, and which entry says so.",
    "tap": "Show live requests of a service.",
    "proxies": "List the sidecars that are connected, and what they refuse.",
    "kv": "Keys and values.",
    "join-token": "Let agents join: one-time tokens.",
    "login": "Log in by an auth method; commands then use the token.",
    "logout": "End the token of a login.",
    "acl": "Tokens and policies: who may do what.",
    "audit": "Audit logs of servers: whether they are whole.",
    "ca": "The certificate authority: its roots, its settings, a new root.",
    "members": "List the servers of the cluster, and its agents.",
    "operator": "Look after the cluster: its servers, who leads, who is gone.",
    "snapshot": "Save the cluster's state, look into it, bring it back.",
    "tls": "Make the certificates of registry servers.",
    "completion": "Print the completion script of a shell.",
    "doctor": "Check this machine for what Weft needs; name what is exposed.",
}
"""Command name, which is also its module's name here (with "_" for "-") -> one line for `weft --help`."""


class LazyGroup(click.Group):
    """Imports a command's module when that command runs, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f".{cmd_name.replace('-', '_')}", __name__).command
        if not isinstance(command, click.Command):
            raise InvariantBroken(f"weft/cli/{cmd_name}.py exports no click command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="weft %(version)s")
def root() -> None:
    """Weft, a service mesh for VMs, bare metal and compose files."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and answers its exit code. Expected errors are one line on stderr."""
    try:
        result = root.main(list(arguments), prog_name="weft", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "weft"
        return _complain(f"{error.format_message()} (see: {where} --help)", error.exit_code)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except InvariantBroken:
        raise  # a bug: the traceback is what the report needs
    except WeftError as error:
        return _complain(str(error), error.exit_code)
    return result if isinstance(result, int) else 0


def main() -> None:
    """The `weft` program."""
    sys.exit(run(sys.argv[1:]))


def _complain(message: str, code: int) -> int:
    print("weft: " + " ".join(message.split()), file=sys.stderr)
    return code
