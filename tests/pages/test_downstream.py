"""Domains, markers and gene sets on a page: reference rows where they are shown, and what the figures are not."""

import pytest

from stbench.evaluation.record import GeneSetFacts
from stbench.evaluation.summaries import summarise
from stbench.pages.leaderboard import columns_of, lines_shown, protocol_page, table_of
from stbench.pages.plots.forest import forest
from stbench.pages.protocol import boards_of
from stbench.pages.report.board import domains_of
from stbench.pages.report.values import values_of
from stbench.pages.rows import REFERENCES
from stbench.pages.sections import leaderboard_csv, sections

from .test_protocol import facts, record

ARI = ["domain-ari", "domain-self-ari"]


def scored(method, values, kind="discriminative", steady=0.95, **changes):
    """PCC, and domains of the second slide alone."""
    task = facts("P0")
    pcc = summarise(dict(zip(task.test, values, strict=True)))
    ari = summarise({task.test[1]: values[1]} if steady >= 0.8 else {task.test[1]: None})
    own = summarise({task.test[1]: steady})
    metrics = {"pcc": pcc, "domain-ari": ari, "domain-self-ari": own}
    return record(method, values, "P0", kind, metrics=metrics, **changes)


def references(steady=0.95):
    slide = facts("P0").test[1]
    rows = {row: {"domain-ari": summarise({slide: 0.1 * place})} for place, row in enumerate(REFERENCES)}
    rows["measured"]["domain-self-ari"] = summarise({slide: steady})
    return record("references", [0, 0], "P0", "reference", metrics={}, references=rows)


@pytest.fixture
def board():
    (found,) = boards_of(sections([scored("one", [0.5, 0.6]), scored("two", [0.4, 0.3], "control"), references()]))
    return found


def test_references_are_rows_where_domains_are_shown(board):
    labels = [f"[{name}]" for name in REFERENCES.values()]
    table = table_of(board, ["pcc", "domain-ari"])
    rows = {row[1]: row for row in table.rows}
    assert list(rows) == [*sorted(labels), "one", "two"]
    assert [rows[label][0] for label in labels] == [""] * 5
    assert [rows[label][3] for label in labels] == [f"{0.1 * place:.2f}" for place in range(5)]
    assert rows["one"][3] == "0.60"
    assert [row[1] for row in table_of(board, ["pcc"]).rows] == ["one", "two"]
    assert columns_of(board) == ["pcc"]


def test_a_page_says_what_they_are(board):
    page = protocol_page(board, metrics=["pcc", *ARI])
    assert "Domains and markers: of slides that carry domains (P0-1); no row is ranked by them." in page
    assert "None is an upper bound" in page
    assert "Nothing is said by domain-ari" not in page
    assert "Domains" not in protocol_page(board)


def test_a_truth_that_is_not_steady_ranks_nothing_and_the_page_says_so():
    some = [scored("one", [0.5, 0.6], steady=0.62), references(0.62)]
    (board,) = boards_of(sections(some))
    page = protocol_page(board, metrics=["pcc", *ARI])
    assert "Nothing is said by domain-ari, domain-nmi of P0-1 on log1p (0.62)" in page
    assert next(row for row in table_of(board, ["pcc", "domain-ari"]).rows if row[1] == "one")[3] == "-"


def test_references_that_are_refused_are_no_trouble(board):
    refused = record("references", [0, 0], "P0", "reference", status="refused", reason="no domains", metrics={})
    (bare,) = boards_of(sections([scored("one", [0.5, 0.6]), refused]))
    assert "no domains" not in protocol_page(bare)
    forest(bare)
    forest(board)


def test_references_stand_among_the_numbers(board):
    lines = leaderboard_csv(board.records).splitlines()
    assert any(",[coordinates alone],domain-ari,P0-1,P0,,,0.3" in line for line in lines)


def test_gene_sets_are_counted_on_the_page():
    sets = GeneSetFacts(sha256="ab" * 32, n_sets=7, n_used=2)
    metrics = {name: summarise(dict.fromkeys(facts("P0").test, 0.5)) for name in ("pcc", "gene-set-pcc")}
    (board,) = boards_of(sections([record("one", [0, 0], "P0", metrics=metrics, gene_sets=sets)]))
    assert columns_of(board) == ["pcc", "gene-set-pcc"]
    said = "Gene sets: 2 of 7 have 5 genes in the panel, the others are left out; sha256 of the file abababababababab."
    assert said in protocol_page(board)
    assert said not in protocol_page(board, metrics=["pcc"])


def test_domains_have_a_column_of_every_scale_that_they_are_defined_on():
    """Markers are undefined on log1p."""
    runs = []
    for scale, marker in (("log1p", None), ("cp10k-log1p", 0.4)):
        slides = facts("P0").test
        values = {"pcc": 0.5, "domain-ari": 0.2, "marker-overlap-20": marker}
        metrics = {name: summarise(dict.fromkeys(slides, value)) for name, value in values.items()}
        runs.append(record("one", [0, 0], "P0", scale=scale, metrics=metrics))
    (board,) = boards_of(sections(runs))
    table = table_of(board, ["pcc", "domain-ari", "marker-overlap-20"])
    assert list(table.head[2:]) == [
        "PCC ↑", "PCC dep ↑", "ARI of domains ↑", "ARI of domains dep ↑", "markers, top 20 dep ↑",
    ]  # fmt: skip
    assert [row[-1].split()[0] for row in table.rows] == ["0.40"]


def test_a_report_has_the_rows_of_the_table_and_its_lines_side_by_side(board):
    """References stand among domains alone; each row there is dressed by the line of its own label."""
    (domains,) = domains_of(board)
    labels = [row[0].removesuffix(" !").removesuffix(" =") for row in domains.table.rows]
    assert labels == [line.label for line in domains.lines]
    assert "[measured panel]" in labels
    assert [line.label for line in lines_shown(board, columns_of(board))] == ["one", "two"]
    for part in values_of(board, ["pcc"]).tables:
        assert [row[0] for row in part.content.rows] == ["one", "two"]
