"""Progress on stderr, tables and numbers on stdout. rich is imported when something is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Timer
from typing import TYPE_CHECKING, TextIO

from stbench.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from stbench.pages.tables import Table
    from stbench.reporting import Advance

_PATIENCE_S = 2.0
_PLAIN_EVERY_S = 30.0
_LEAST_ROOM = 20  # columns of a value, however narrow the terminal
_FILE_WIDTH = 10_000  # columns in a file or a pipe, where nothing should wrap


def say(text: str) -> None:
    """Results on stdout."""
    print(printable(text, keep="\n\t"), flush=True)


def say_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: int | None = None,
    names: Collection[int] = (0,),
) -> None:
    """A table on stdout.

    Args:
        columns: headings.
        rows: cells as text; an empty row draws a line.
        numbers: first column whose cells are aligned on the right.
        names: columns whose cells are never folded and never leave.
    """
    from stbench.pages.tables import Table

    draw(Table(columns, list(rows), range(len(columns) if numbers is None else numbers)), names=names)


def draw(content: Table, *, names: Collection[int] = (0,)) -> None:
    """A table on stdout, as wide as the terminal at most: words fold between words, columns leave from the right.

    Args:
        content: headings and cells; a line parts the blocks.
        names: columns whose cells are never folded and never leave.
    """
    from stbench.cli.fitting import fit, render

    console = _console(sys.stdout)
    fitted = fit(content, names, console.width)
    console.width = max(console.width, fitted.width)
    console.print(render(content, fitted))
    if fitted.left:
        say(f"not shown at this width: {', '.join(content.head[place] for place in fitted.left)}")


def say_aligned(lines: Sequence[tuple[str, str]], least: int = 0) -> int:
    """Names and values in two columns on stdout; on a terminal a long value goes on below itself.

    Args:
        lines: names and values.
        least: width of the names at least.

    Returns:
        The width of the names, for lines that follow.
    """
    from textwrap import wrap

    width = max((least, *(len(name) for name, _ in lines)))
    room = max(_console(sys.stdout).width - width - 2, _LEAST_ROOM)
    for name, value in lines:
        parts = wrap(value, room, break_long_words=False, break_on_hyphens=False) if len(value) > room else [value]
        for place, part in enumerate(parts):
            say(f"{name if place == 0 else '':<{width}}  {part}")
    return width


def complain(text: str) -> None:
    """One line on stderr; where that cannot be written, as in a file on a full disk, the work goes on without."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def stderr_console() -> Console:
    """Where progress is shown."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else _FILE_WIDTH)


class ConsoleReporter:
    """Messages and progress on stderr; a bar appears only for what takes longer than two seconds.

    Where stderr is no terminal, a line is written every half minute instead of a bar.
    """

    def info(self, message: str) -> None:
        """Show one line above the bars."""
        with suppress(OSError):
            self._console.print(printable(message), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        """Show progress while the block runs."""
        inner = self._bar(description, total) if self._console.is_terminal else self._lines(description, total)
        with inner as advance:
            yield advance

    @cached_property
    def _console(self) -> Console:
        return stderr_console()

    @cached_property
    def _progress(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        return Progress(*columns, console=self._console, transient=True)

    @contextmanager
    def _bar(self, description: str, total: int) -> Iterator[Advance]:
        progress = self._progress
        task = progress.add_task(printable(description), total=total, visible=False, note="")
        timer = Timer(_PATIENCE_S, self._show, [task])
        timer.daemon = True
        timer.start()

        def advance(steps: int = 1, *, note: str = "") -> None:
            progress.update(task, advance=steps, note=printable(note))

        try:
            yield advance
        finally:
            timer.cancel()
            timer.join()
            progress.remove_task(task)
            if not progress.tasks:
                progress.stop()

    def _show(self, task: TaskID) -> None:
        self._progress.start()
        self._progress.update(task, visible=True)

    @contextmanager
    def _lines(self, description: str, total: int) -> Iterator[Advance]:
        started = said = time.monotonic()
        done = 0

        def advance(steps: int = 1, *, note: str = "") -> None:
            nonlocal done, said
            done += steps
            now = time.monotonic()
            if now - said >= _PLAIN_EVERY_S and done < total:
                said = now
                complain(f"{description}: {done}/{total} {note}".rstrip())

        yield advance
        spent = time.monotonic() - started
        if spent >= _PATIENCE_S:
            complain(f"{description}: {done}/{total} in {spent:.0f} s")
