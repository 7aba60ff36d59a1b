"""Ablations as cards declare them, and the runs that rows become."""

import hashlib

import pytest
from pydantic import ValidationError

from stbench.catalogue import MethodCard, method_cards
from stbench.catalogue.ablations import Ablation, Depth
from stbench.errors import UserError
from stbench.methods.registry import find_method
from stbench.studies.ablation.variants import Base, Resolver, check_metrics

FLAG = find_method("flag")
VECTORS = {"scgpt": "a", "cellplm": "b", "geneformer": "c"}
ABLATED = [card for card in method_cards().values() if card.ablations]


def resolved(card, preset, vectors=VECTORS, **overrides):
    resolver = Resolver(Base(card, card.name, preset, overrides, vectors))
    return resolver, {ablation.table: resolver.table(0, ablation) for ablation in card.ablations}


def runs(table):
    return {row.label: row.run for row in table.rows}


def reported(table, label):
    (found,) = [one for one in FLAG.ablations if one.table == table]
    return next(row.reported for row in found.rows if row.label == label)


def test_reported_values_are_the_papers():
    lines = sorted(
        f"{one.table}|{one.conditions.dataset}|{one.conditions.genes}|{row.label}|{metric}|{value:.4f}"
        for one in FLAG.ablations
        for row in one.rows
        for metric, value in row.reported.items()
    )
    assert len(lines) == 62
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest.startswith("9f064678508cda32")  # of the tables as transcribed from the paper
    assert reported("2", "without diffusion (supervised)") == {
        "pcc": 0.6748,
        "mse": 0.7864,
        "gsc": 0.3217,
        "ssc": 0.5685,
    }
    assert reported("6", "scGPT")["gsc"] == 0.8743
    assert reported("7", "layer 8 of 12") == {"pcc": 0.3457, "gsc": 0.8594}
    assert reported("12", "k = 12") == {"ssc": 0.6290}


@pytest.mark.parametrize("card", ABLATED, ids=lambda card: card.name)
def test_every_row_is_possible_under_every_preset(card):
    for preset in ("paper", *card.presets):
        _, tables = resolved(card, preset)
        refused = [row.refused for table in tables.values() for row in table.rows if row.run is None]
        assert refused == [], preset


def test_rows_with_the_same_settings_are_one_run():
    resolver, tables = resolved(FLAG, "paper", {})
    assert runs(tables["2"])["full"] == runs(tables["13"])["1 x sigma"] == runs(tables["14"])["both"] == "full"
    assert set(runs(tables["12"]).values()) == {"full"}
    assert runs(tables["6"])["co-expression"] == runs(tables["7"])["layer 8 of 12"] == "graph=false"
    assert runs(tables["6"])["no prior"] == runs(tables["7"])["no alignment"]
    assert runs(tables["6"])["Geneformer"] is None
    distinct = {row.run for table in tables.values() for row in table.rows if row.run}
    assert len(distinct) == len(resolver.variants) == 12


def test_a_layer_is_mapped_by_depth_and_said():
    _, tables = resolved(FLAG, "small")
    said = {row.label: row.text for row in tables["7"].rows}
    assert said["layer 12 of 12"].endswith("align_layer=3 (block 3 of 3 stands for 12 of 12)")
    assert runs(tables["7"])["layer 2 of 12"] == runs(tables["7"])["layer 4 of 12"] == "graph=false,align_layer=1"
    _, tables = resolved(FLAG, "paper")
    assert "stands for" not in "".join(row.text for row in tables["7"].rows)
    blocks = [Depth(at=at, among=12, of="d").block(12) for at in (2, 4, 8, 12)]
    assert blocks == [2, 4, 8, 12]
    assert [Depth(at=at, among=12, of="d").block(4) for at in (1, 2, 4, 8, 12)] == [1, 1, 1, 3, 4]


def test_a_row_multiplies_what_the_user_set():
    resolver, tables = resolved(FLAG, "paper", {}, sigma="100")
    assert tables["13"].rows[0].said == ["sigma=50 (0.5 x 100)"]
    assert resolver.variants["sigma=50.0"].overrides == {"sigma": "50.0"}


def test_vectors_that_all_rows_have_name_no_run():
    _, tables = resolved(FLAG, "paper", {"geneformer": "c"}, prior="file:c")
    assert runs(tables["6"])["Geneformer"] == runs(tables["7"])["layer 8 of 12"] == "graph=false"
    assert runs(tables["6"])["co-expression"] == "graph=false,prior=coexpression"
    _, tables = resolved(FLAG, "paper", {"geneformer": "some/where"})
    assert runs(tables["6"])["Geneformer"] == "graph=false,prior=geneformer"


def test_a_row_that_cannot_be_is_refused_alone():
    rows = [
        {"label": "full"},
        {"label": "typo", "settings": {"graf": False}},
        {"label": "range", "settings": {"sigma": -1}},
        {"label": "text", "times": {"prior": 2.0}},
        {"label": "metric", "metrics": {"ssc": {"q": 2}}},
        {"label": "reported", "reported": {"pc": 0.1}},
    ]
    ablation = Ablation(table="1", title="t", reference="full", rows=rows)
    resolver = Resolver(Base(FLAG, "flag", "paper", {}, {}))
    refused = {row.label: row.refused for row in resolver.table(0, ablation).rows}
    assert refused.pop("full") is None
    for label, said in {
        "typo": "did you mean graph",
        "range": "greater than 0",
        "text": "expected a number as setting 'prior'",
        "metric": "unknown parameter of ssc 'q'",
        "reported": "unknown metric 'pc'",
    }.items():
        assert said in refused[label]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": "none"}, "expected a reference among"),
        ({"rows": [{"label": "a"}, {"label": "a"}]}, "expected every label once"),
        ({"rows": []}, "at least 1 item"),
        ({"table": "a b"}, "pattern"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_table_is_checked(changes, said):
    table = {"table": "1", "title": "t", "reference": "a", "rows": [{"label": "a"}]}
    with pytest.raises(ValidationError, match=said):
        Ablation.model_validate({**table, **changes})


def test_two_tables_of_one_name():
    table = {"table": "1", "title": "t", "reference": "a", "rows": [{"label": "a"}]}
    with pytest.raises(ValidationError, match="every table of ablations once"):
        MethodCard(name="m", title="m", entry="m:M", ablations=[table, table])


def test_metrics_are_known():
    check_metrics(["pcc"], {"ssc": {"k": 6}})
    with pytest.raises(UserError, match="unknown metric"):
        check_metrics(["nope"], {})
