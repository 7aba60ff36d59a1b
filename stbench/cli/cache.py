"""`stbench cache`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(help="What was computed once and is kept: list, clear.", rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """What lies in the cache folder, by kind."""
    from datetime import UTC, datetime

    from stbench.cli.console import say_aligned, say_table
    from stbench.data.fetch import size_text
    from stbench.evaluation.cache import usage
    from stbench.evaluation.request import default_cache

    rows = []
    for kind in usage(default_cache()):
        used = "-" if kind.used is None else f"{datetime.fromtimestamp(kind.used, UTC):%Y-%m-%d}"
        rows.append([kind.kind, str(kind.entries), size_text(kind.size), used])
    say_table(["kind", "entries", "size", "last used"], rows, numbers=1)
    say_aligned([("folder", str(default_cache()))])


@app.command()
def clear(
    kind: Annotated[
        str | None, typer.Argument(help="features, patches, parsed, simulated or semisynthetic; default: all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without being asked.")] = False,
) -> None:
    """Remove what stbench keeps in the cache folder; what it did not make, or another process has locked, stays."""
    from stbench.cli.console import say
    from stbench.data.fetch import size_text
    from stbench.errors import SettingError, UnknownNameError
    from stbench.evaluation import cache
    from stbench.evaluation.request import default_cache
    from stbench.text import count, listed

    folder = default_cache()
    if kind is not None and kind not in cache.KINDS:
        raise UnknownNameError("kind", kind, cache.KINDS, hint="what stbench did not make is left alone")
    kinds = cache.KINDS if kind is None else (kind,)
    there = [found for found in cache.usage(folder) if found.kind in kinds]
    n_entries, size = sum(found.entries for found in there), sum(found.size for found in there)
    said = f"{count(n_entries, 'entry', 'entries')} of {listed(kinds)}"
    if n_entries and not yes and not sys.stdin.isatty():
        raise SettingError(f"expected an answer whether to remove {said}, found no terminal; add --yes to agree")
    if n_entries and not yes:
        typer.confirm(f"Remove {said} ({size_text(size)}) in {folder}? A run at work may still need them.", abort=True)
    gone, held = cache.clear(folder, kinds)
    for entry in held:
        say(f"left {entry.kind} {entry.name[:16]}: another process holds it")
    say(f"removed {count(len(gone), 'entry', 'entries')} in {folder}")
