"""Writes page, numbers and figure of a sweep: a pure function of what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stbench.files import write_text
from stbench.pages.figures import save_figure
from stbench.studies.sweep.curves import draw
from stbench.studies.sweep.page import LESS, caption, page, relative_caption
from stbench.studies.sweep.relative import relative_csv
from stbench.studies.sweep.relative_curves import draw_relative
from stbench.studies.sweep.results import read_results, results_csv


def write_report(out: Path) -> list[Path]:
    """Write ``<cohort>-genes-<split>-<digits>.md``, ``.csv``, ``.png`` and ``.svg`` into the folder of a sweep.

    Of several folds also ``<the same>-less.png`` and ``.svg``: scores less those of controls.

    The same records give the same bytes, whatever was run last.

    Args:
        out: folder that holds ``sweep.json`` and the cells.

    Returns:
        The files written; no figure where nothing is finished.

    Raises:
        UserError: it is no sweep, its records contradict each other, or it cannot be written.
    """
    results = read_results(out)
    base = out / results.manifest.name
    numbers = results_csv(results) + (relative_csv(results) if results.folded else "")
    written = write_texts(out, {f"{base.name}.md": page(results), f"{base.name}.csv": numbers})
    figures = save_figure(draw(results, caption(results)), base) if results.metrics else []
    relative = draw_relative(results, relative_caption(results)) if results.folded and results.metrics else None
    more = [] if relative is None else save_figure(relative, base.with_name(f"{base.name}{LESS}"))
    return [*written, *figures, *more]


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files into a folder; each appears only when complete.

    Raises:
        UserError: the folder cannot be written.
    """
    for name, text in texts.items():
        write_text(out / name, text, hint="choose another --out")
    return [out / name for name in texts]
