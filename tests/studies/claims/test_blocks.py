"""From tables to grids: what is run, and what is missing for the reported experiment."""

from pathlib import Path

import pytest

from stbench.catalogue import find_paper
from stbench.errors import SettingError, UserError
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.claims.blocks import blocks_of, check_place, nothing_to_run
from stbench.studies.claims.request import ClaimsRequest
from stbench.studies.claims.tables import chosen
from stbench.studies.sweep.request import SweepRequest

PAPER, BENCHMARK = find_paper("2605.18055"), find_paper("hest-benchmark")


def blocks(table, paper=PAPER, **asked):
    (one,) = chosen(paper, [table])
    return blocks_of(one, ClaimsRequest(**asked), Path("cache"))


def asked_of(block):
    request = block.request
    return request.dataset, request.genes, request.normalization, request.split, type(request).__name__


def test_a_table_becomes_grids_of_the_ordinary_engine():
    assert [asked_of(block) for block in blocks("1")] == [
        (name, (200,), ("log1p",), "slide", "Request") for name in ("her2st", "kidney", "prad")
    ]
    (sweep,) = blocks("8")
    assert isinstance(sweep.request, SweepRequest)
    assert sweep.request.genes == (50, 100, 200, 400)
    (ablation,) = blocks("6")
    assert isinstance(ablation.request, AblateRequest)
    assert (ablation.request.methods, ablation.request.tables, ablation.request.genes) == (("flag",), ("6",), (200,))
    markers, domains = blocks("3")
    assert {markers.request.normalization, domains.request.normalization} == {("log1p",), ("cp10k-log1p",)}
    assert blocks("15")[0].request.split == "lopo-Br8100"
    assert {block.request.genes for block in blocks("10")} == {(200,)}


@pytest.mark.parametrize("table", [one.table for one in [*PAPER.tables, *PAPER.ablations] if any(one.claims())])
def test_every_claim_of_a_table_is_in_one_block(table):
    (one,) = chosen(PAPER, [table])
    found = [claim for block in blocks(table) for claim in block.claims]
    assert sorted(map(repr, found)) == sorted(map(repr, one.claims()))


def test_what_is_missing_of_the_experiment_is_said_with_what_to_give():
    (block,) = blocks("1", cohorts=("kidney",), data_root=Path("D"))
    assert block.problem == (
        "no slides of kidney in D; get them with stbench datasets fetch kidney --source hest --data-root D"
    )
    assert (block.request.encoder, block.request.overrides) == (None, ())
    weights, vectors = block.missing
    assert weights.startswith("weights of uni: give --weights uni=PATH")
    assert vectors.startswith("vectors of geneformer for kidney: write them with stbench prior --model geneformer ")
    assert "--dataset kidney --genes 200 --weights DIR --data-root D --out priors/geneformer-kidney, then" in vectors
    assert vectors.endswith("give --prior geneformer=priors/geneformer-kidney")
    (other,) = blocks("1", cohorts=("kidney",), methods=("bleep",), encoder="mean-rgb")
    assert (other.missing, other.request.methods, other.request.encoder) == ((), ("bleep",), "mean-rgb")


def test_files_that_are_given_reach_the_methods_that_have_them(tmp_path):
    (tmp_path / "kidney.csv").write_text("gene,x\na,1\n")
    given = {"vectors": (f"geneformer={tmp_path}/{{dataset}}.csv",), "weight_files": ("uni=uni.bin",)}
    found = {block.request.dataset: block for block in blocks("1", **given)}
    assert found["kidney"].request.overrides == (f"flag.prior=file:{tmp_path}/kidney.csv",)
    assert (found["kidney"].request.encoder, found["kidney"].request.weights) == ("uni", Path("uni.bin"))
    assert found["kidney"].missing == ()
    assert found["prad"].request.overrides == ()
    assert "vectors of geneformer for prad" in found["prad"].missing[0]
    by_hand = blocks("1", cohorts=("kidney",), overrides=("flag.prior=none",), **given)[0]
    assert by_hand.request.overrides == ("flag.prior=none",)
    (ablation,) = blocks("6", **given)
    assert ablation.request.vectors == (f"geneformer={tmp_path}/kidney.csv",)
    with pytest.raises(SettingError, match="--prior geneformer: expected a file or folder of vectors at nowhere"):
        blocks("1", vectors=("geneformer=nowhere",))


def test_rows_of_encoders_are_runs_of_their_own():
    found = blocks("ridge", BENCHMARK, data_root=Path("D"))
    assert len(found) == 8
    assert len(blocks("ridge", BENCHMARK, encoder="mean-rgb")) == 1
    assert found[0].title == "table ridge, prad, resnet50: ridge"
    assert (found[0].request.split, found[0].request.genes) == ("lopo", (50,))


def test_reasons_are_said_once():
    said = str(nothing_to_run(blocks("1")))
    assert said.startswith("nothing of table 1 can be run: no slides of her2st")
    assert said.count("get them with") == 3


def test_places_of_something_else_are_refused(tmp_path):
    check_place(tmp_path)
    check_place(tmp_path / "new")
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(UserError, match=r"found sweep.json; choose another --out"):
        check_place(tmp_path)
    with pytest.raises(UserError, match="found a file; choose another --out"):
        check_place(tmp_path / "sweep.json")
