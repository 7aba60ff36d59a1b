"""Writes page, trials and figure of a study: a pure function of what its folder holds."""

from __future__ import annotations

from pathlib import Path

from stbench.pages.figures import save_figure
from stbench.studies.sweep.report import write_texts
from stbench.studies.tuning.page import draw, page
from stbench.studies.tuning.results import read_study, trials_csv


def write_study(out: Path) -> list[Path]:
    """Write ``<cohort>-tune-g<genes>-<split>-<digits>.md``, ``.csv``, ``.png`` and ``.svg`` into the folder of a study.

    Args:
        out: folder that holds ``tuning.json`` and the journal.

    Returns:
        The files written; no figure where no trial is complete.

    Raises:
        UserError: it is no study, or it cannot be written.
    """
    results = read_study(out)
    base = out / results.manifest.name
    written = write_texts(out, {f"{base.name}.md": page(results), f"{base.name}.csv": trials_csv(results)})
    return [*written, *(save_figure(draw(results), base) if any(one.best for one in results.tunings) else [])]
