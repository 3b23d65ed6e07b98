"""How the story reaches the terminal: coloured and with a spinner on a tty, plain lines elsewhere."""

import contextlib
import io
import sys
from collections.abc import Iterator

from rich.console import Console


class Narrator:
    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without "✓" still gets the story
        self._console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._chapter = 0

    def title(self, text: str) -> None:
        self._console.print(text, style="bold")

    def chapter(self, text: str) -> None:
        self._chapter += 1
        self._console.print(f"\n{self._chapter}. {text}", style="bold cyan")

    def say(self, text: str) -> None:
        self._console.print(f"   {text}")

    def proved(self, text: str) -> None:
        """Something that was checked, not only done."""
        self._console.print(f"   ✓ {text}", style="green")

    def failed(self, text: str) -> None:
        self._console.print(f"   ✗ {text}", style="bold red")

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Shows that something takes a moment."""
        if self._console.is_terminal:
            with self._console.status(f"   {text}"):
                yield
        else:
            self.say(f"… {text}")
            yield
