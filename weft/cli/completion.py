"""`weft completion`: what shells need to complete `weft`."""

import click

VARIABLE = "_WEFT_COMPLETE"  # how a shell asks (click's protocol)
EPILOG = """
\b
bash, in ~/.bashrc:                         source <(weft completion bash)
zsh, in ~/.zshrc, after compinit:           source <(weft completion zsh)
fish, in ~/.config/fish/completions:        weft completion fish > weft.fish

Names of services and instances are asked of the registry at WEFT_HTTP_ADDR, for a second at most.
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL."""
    from click.shell_completion import get_completion_class

    from . import root

    found = get_completion_class(shell)
    assert found is not None
    click.echo(_source(found(root, {}, "weft", VARIABLE)))


def _source(complete: "click.shell_completion.ShellComplete") -> str:
    """Without click's look at the version of a bash that need not be on this machine."""
    return complete.source_template % complete.source_vars()
