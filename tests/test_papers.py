"""What papers report, against its transcription."""

import csv
from pathlib import Path

import pytest
from pydantic import ValidationError

from stbench.catalogue import dataset_cards, method_cards, metric_cards, paper_cards
from stbench.catalogue.papers import ReportedTable

REPORTED = Path(__file__).parents[2] / "shared" / "paper" / "reported.csv"
FLAG = paper_cards()["2605.18055"]
METHODS = {
    "HisToGene": "histogene",
    "BLEEP": "bleep",
    "TRIPLEX": "triplex",
    "Stem": "stem",
    "STFlow": "stflow",
    "FLAG": "flag",
    "Node-Only Diffusion": "node-diffusion",
    "Joint Node-Edge Diffusion": "joint-diffusion",
    "Ground truth expression": "ground truth",
}
LABELS = {
    "FLAG": "full",
    "FLAG w/o diffusion (supervised)": "without diffusion (supervised)",
    "FLAG w/o GFM alignment": "without alignment",
    "FLAG w/o spatial graph": "without spatial graph",
    "gfm=none": "no prior",
    "gfm=scGPT": "scGPT",
    "gfm=CellPLM": "CellPLM (pooled over genes)",
    "gfm=Geneformer": "Geneformer",
    "align_layer=none": "no alignment",
    **{f"align_layer={layer}": f"layer {layer} of 12" for layer in (2, 4, 8, 12)},
    **{f"ssc_k={k}": f"k = {k}" for k in (6, 8, 12)},
    "sigma=112": "0.5 x sigma",
    "sigma=224": "1 x sigma",
    "sigma=448": "2 x sigma",
    "edge_channels=distance": "distance alone",
    "edge_channels=histology": "histology alone",
    "edge_channels=both": "both",
}


def claimed(paper):
    return sorted(
        (c.table, c.dataset, c.method, str(c.genes or ""), c.label, c.metric, f"{c.value:g}", c.std or 0)
        for c in paper.claims()
    )


def transcribed():
    ablations = {ablation.table for ablation in FLAG.ablations}
    found = []
    for row in csv.DictReader(REPORTED.read_text(encoding="utf-8").splitlines()):
        varied = row["table"] in ablations
        method = "flag" if varied else METHODS[row["method"]]
        label = LABELS[row["method"].partition("[")[2].rstrip("]") or row["method"]] if varied else ""
        place = (row["table"], row["dataset"].lower(), method, row["genes"], label, row["metric"].replace("_", "-"))
        found.append((*place, f"{float(row['value']):g}", float(row["std"] or 0)))
    return sorted(found)


def test_every_number_is_the_papers():
    if not REPORTED.is_file():
        pytest.skip(f"no transcription of the paper beside the checkout: {REPORTED.name}")
    assert claimed(FLAG) == transcribed()


def test_every_table_is_there():
    tables = [one.table for one in (*FLAG.tables, *FLAG.ablations)]
    assert sorted(tables, key=int) == [str(number) for number in range(1, 16)]
    assert len(list(FLAG.claims())) == 261


@pytest.mark.parametrize("paper", paper_cards().values(), ids=lambda paper: paper.name)
def test_names_are_registered(paper):
    for claim in paper.claims():
        assert claim.method in {*method_cards(), "ground truth"}
        assert claim.dataset in dataset_cards()
    assert {metric for one in paper.ablations for row in one.rows for metric in row.reported} <= set(metric_cards())
    measures = [one.measure_of(claim.metric) for one in paper.tables for claim in one.claims()]
    assert {one.metric for one in measures if one.of == "metric"} <= set(metric_cards())


def test_methods_have_the_ablations_of_papers():
    assert [one.table for one in method_cards()["flag"].ablations] == ["2", "6", "7", "12", "13", "14"]
    assert method_cards()["ridge"].ablations == []


def test_a_table_is_rectangular():
    with pytest.raises(ValidationError, match="table 1: expected 2 cells, found"):
        ReportedTable(table="1", title="t", columns=["method", "pcc"], rows=[["flag"]])


def test_our_number_is_that_of_a_column_there_is():
    with pytest.raises(ValidationError, match="table 1: expected measured columns of the table, found 'mse'"):
        ReportedTable(table="1", title="t", columns=["method", "pcc"], rows=[], measured={"mse": {"metric": "mse"}})


def test_a_benchmark_of_encoders_names_them():
    """Its rows name no method: what is run in place of its regressor stands on the card."""
    claims = list(paper_cards()["hest-benchmark"].claims())
    assert {claim.method for claim in claims} == {"ridge"}
    printed = {(claim.table, claim.encoder): claim.value for claim in claims}
    forest = {"resnet50": 0.318, "uni": 0.357, "conch": 0.373, "phikon": 0.377}
    assert {name: printed["random-forest", name] for name in forest} == forest
    assert (printed["ridge", "uni"], printed["genbio", "genbio-pathfm"]) == (0.314, 0.391)
