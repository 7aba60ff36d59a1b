"""The table of genes says what the records say, and believes no gene without a reason."""

import csv
import io

import pytest

from stbench.evaluation.model import GeneWorth
from stbench.pages.plots.genes import gene_rows, genes_csv, told, verdict_of

from ..test_protocol import PATIENTS, board, facts
from ..test_worth import asked, runs, steps


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def everything(**changes):
    return [
        *runs("x", steps, **changes), *runs("ridge", lambda _: [0.2, 0.3], "control", **changes),
        *runs("ceiling-count-split", lambda _: [0.9, 0.8], "ceiling", **changes),
    ]  # fmt: skip


@pytest.mark.parametrize(("verdict", "changes"), [
    ("trustworthy", {"trusted": True, "low": 0.3, "high": 0.5, "control_pcc": 0.2}),
    ("doubtful", {"low": 0.1, "high": 0.5, "control_pcc": 0.45, "ceiling": 0.9}),
    ("doubtful", {"control_pcc": 0.2, "ceiling": 0.9}),
    ("doubtful", {}),
    ("hopeless", {"low": 0.3, "high": 0.4, "control_pcc": 0.45, "ceiling": 0.9}),
    ("hopeless", {"low": -0.3, "high": -0.1}),
    ("hopeless", {"control_pcc": 0.3, "ceiling": 0.25}),
])  # fmt: skip
def test_verdicts(verdict, changes):
    assert verdict_of(GeneWorth(gene="A", patients=6, pcc=0.35, **changes)) == verdict


def test_every_gene_of_every_row():
    found = board(*everything())
    rows = read(genes_csv(gene_rows(found)))
    assert [(row["row"], row["gene"]) for row in rows] == [("ridge", "B"), ("ridge", "A"), ("x", "A"), ("x", "B")]
    for row, worth in zip(rows[2:], asked(everything(), genes=["A", "B"]), strict=True):
        numbers = [float(row[name]) for name in ("pcc", "low", "high", "control_pcc", "ceiling")]
        assert numbers == [worth.pcc, worth.low, worth.high, worth.control_pcc, worth.ceiling]
        assert (row["patients"], row["best_control"], row["scale"]) == ("6", worth.control, "log1p")
    assert [row["verdict"] for row in rows] == ["", "", "trustworthy", "hopeless"]
    assert told(found, gene_rows(found)) == ["x, log1p: 1 trustworthy gene, 1 hopeless gene"]


def test_what_sees_the_truth_is_no_bar():
    seer = runs("total-counts", lambda _: [0.8, 0.8], "oracle")
    rows = [row for row in gene_rows(board(*everything(), *seer)) if row.label == "x"]
    assert [(row.worth.control, row.verdict) for row in rows] == [("ridge", "trustworthy"), ("ridge", "hopeless")]


def test_seen_patients_say_nothing():
    task = facts("P0", train=["P0-0", "P1-0", "P2-0"], test=["P0-1", "P3-0"])
    found = board(*runs("x", steps, patients=PATIENTS[:1], task=task))
    rows = gene_rows(found)
    assert {(row.verdict, row.worth.low) for row in rows} == {("", None)}
    assert "no verdict on genes from test patients that train or validate" in told(found, rows)[0]


def test_few_patients_are_doubtful_and_say_so():
    found = board(*runs("x", steps, patients=PATIENTS[:3]))
    (said,) = told(found, gene_rows(found))
    assert said == "x, log1p: 2 doubtful genes (no intervals from 3 patients, at least 4 are needed)"


def test_no_name_is_a_formula():
    task = facts("P0", genes=["=HYPERLINK(1)", "B"])
    rows = read(genes_csv(gene_rows(board(*runs("x", steps, patients=PATIENTS[:1], task=task)))))
    assert {row["gene"] for row in rows} == {"'=HYPERLINK(1)", "B"}
