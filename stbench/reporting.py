"""How lower rooms tell the user what happens without printing: only the command line prints."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a progress bar by ``steps`` and optionally replaces the text behind it."""

    def __call__(self, steps: int = 1, *, note: str = "") -> None: ...


class Reporter(Protocol):
    """Where messages and progress go."""

    def info(self, message: str) -> None:
        """Show one line."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        """Show a progress bar of ``total`` steps while the block runs."""


class Silent:
    """A reporter that drops everything; the default of every function that takes one."""

    def info(self, message: str) -> None:
        pass

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        def advance(steps: int = 1, *, note: str = "") -> None:
            pass

        yield advance


SILENT: Reporter = Silent()
