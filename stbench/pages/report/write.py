"""Reports as files: the page of a board, or an index with a page per board beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stbench.errors import UserError
from stbench.evaluation.public import Published, marked
from stbench.evaluation.record import ORIGINS
from stbench.evaluation.rescore import Truths
from stbench.files import write_text
from stbench.pages import wording
from stbench.pages.archive import read_runs
from stbench.pages.facts import limits, title_of
from stbench.pages.plots.material import Material
from stbench.pages.protocol import Protocol
from stbench.pages.report.board import board_page, figures_of, seen_of
from stbench.pages.report.markup import environment
from stbench.reporting import SILENT, Reporter

OUT = Path("report.html")
_ELSEWHERE = "choose another --out"


def write_report(
    places: Sequence[Path], out: Path, truths: Truths, *, published: Mapping[str, Published] | None = None,
    genes: Sequence[str] = (), command: str = "", reporter: Reporter = SILENT,
) -> list[Path]:  # fmt: skip
    """Write the page of a board; of several boards an index, and ``<board>.html`` for each beside it.

    Args:
        places: folders of runs or boards, files of records and archives.
        out: the page; its folder is made when absent.
        truths: where the truth of test slides comes from.
        published: seeds that everybody knows.
        genes: that must be among the maps.
        command: what the user typed.
        reporter: where progress goes, and what is left out.

    Returns:
        The files, that of ``out`` first.

    Raises:
        UserError: there is no finished run, a gene is in no panel, something stored is damaged, or ``out`` cannot be
            written.
    """
    runs = list(read_runs(places))
    records = marked((record for _, record in runs), published or {})
    material = Material(zip((folder for folder, _ in runs), records, strict=True), truths)
    material.check_genes(genes)
    if len(material.boards) == 1:
        page = board_page(material.boards[0], material, genes=genes, command=command, reporter=reporter)
        write_text(out, page, hint=_ELSEWHERE)
        return [out]
    return _write_index(material, out, genes=genes, command=command, reporter=reporter)


def _write_index(
    material: Material, out: Path, *, genes: Sequence[str], command: str, reporter: Reporter
) -> list[Path]:
    write_text(out, index_page(material.boards, command), hint=_ELSEWHERE)
    written = [out]
    for board in material.boards:
        path = out.with_name(f"{board.name}.html")
        if path == out:
            raise UserError(f"--out: expected another name than that of a board's page, found {out}; {_ELSEWHERE}")
        asked = [gene for gene in genes if any(gene in section.task.genes for section in board.sections)]
        page = board_page(board, material, genes=asked, command=command, index=quote(out.name), reporter=reporter)
        write_text(path, page, hint=_ELSEWHERE)
        written.append(path)
    return written


def index_page(boards: Iterable[Protocol], command: str = "") -> str:
    """HTML of all boards, those of one origin together, each with its first line and a link to its page."""
    groups: list[tuple[str, list[dict[str, Any]]]] = [(origin, []) for origin in ORIGINS]
    for board in boards:
        dict(groups)[board.task.origin].append(_entry(board))
    found = [(origin, entries) for origin, entries in groups if entries]
    return environment().get_template("index.html").render(groups=found, commands=[command] if command else [])


def _entry(board: Protocol) -> dict[str, Any]:
    return {
        "title": title_of(board.task, board.rule, f"{board.task.n_genes} genes", leaky=not board.is_clean),
        "verdict": wording.verdict(board),
        "figures": figures_of(board),
        "limits": [*seen_of(board), *limits(board.task)],
        "link": f"{quote(board.name)}.html",
    }
