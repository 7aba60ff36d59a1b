"""Contamination: what a record's pretrained weights have seen, from the record alone."""

import hashlib
import json

import numpy as np
import pytest

from stbench.catalogue import MethodCard
from stbench.catalogue.pretrained import PretrainedSheet
from stbench.evaluation import exposure as room
from stbench.evaluation.exposure import Used, contamination, used_encoder, used_weights
from stbench.evaluation.pretrained import pretrained_of
from stbench.evaluation.record import Record, TaskFacts
from stbench.evaluation.task import NO_ENCODER

HASH = "ab" * 32
FULL = f"/1/{HASH}/[224, [0.5], [0.5]]/fp32/timm-1.0.31"


def record(encoder, dataset="her2st", *, settings=None, pretrained=None, asked=None, slides=("x",), **origin):
    """A record of a row, with what contamination may depend on."""
    facts = TaskFacts(
        hash="h", dataset=dataset, simulated=origin.get("simulated", False),
        semi_synthetic=origin.get("semi_synthetic", False), n_genes=1, genes=["A"], normalization="log1p",
        encoder=encoder, patch="112 um", protocol="slide", train=[], validation=[], test=list(slides), patients={},
        leak_fraction=None, n_spots={}, data_digest="d",
    )  # fmt: skip
    return Record(
        status="done", task=facts, method="m", title="M", kind="discriminative", entry="m:M", preset="paper",
        settings=settings or {}, seed=0, draws=1, encoder=encoder, command="", request={"dataset": asked or dataset},
        pretrained=pretrained or {},
    )  # fmt: skip


def mark(*args, **kwargs):
    return contamination(record(*args, **kwargs)).mark


@pytest.fixture
def known_hash(monkeypatch):
    """The sheet as it is once the hash of a release is known: HASH is that of the file of a name."""

    def know(name):
        said = json.loads(room.pretrained_sheet().model_dump_json())
        for one in said["weights"]:
            one["sha256"] = [HASH] if name in one["names"] else []
        sheet = PretrainedSheet.model_validate(said)
        monkeypatch.setattr(room, "pretrained_sheet", lambda: sheet)

    return know


@pytest.mark.parametrize("predictor", ["stpath", "delphi"])
def test_a_predictor_that_saw_expression_is_not_to_be_ranked(predictor):
    found = contamination(record("none", pretrained={"method": f"{predictor}/unknown"}))
    assert (found.mark, found.labels) == ("C", True)
    assert "saw HER2ST (Andersson 2021) with its expression" in found.said
    assert "looked up 2026-11-29" in found.said
    assert contamination(record("none", "prad", pretrained={"method": f"{predictor}/unknown"})).labels is False


def test_an_encoder_that_saw_the_slides_alone_may_be_ranked():
    found = contamination(record(f"phikon-v2{FULL}", "tcga-brca", asked="somewhere/tcga-brca"))
    assert (found.mark, found.labels) == ("C", False)
    assert "saw TCGA without its expression" in found.said
    assert mark(f"phikon-v2{FULL}") == "c"


def test_the_chief_file_saw_tcga_and_paip_and_is_undisclosed_elsewhere():
    assert [mark(f"ctranspath{FULL}", name, asked=f"./{name}") for name in ("tcga", "paip")] == ["C", "C"]
    assert {mark(f"ctranspath{FULL}", name) for name in ("her2st", "kidney", "prad", "dlpfc")} == {"c"}
    assert {mark(f"ctranspath{FULL}", name, asked=f"./{name}") for name in ("gtex", "cptac", "hest_mini")} == {"c"}


def test_another_hash_under_a_known_name_is_undisclosed_and_the_known_one_is_not(known_hash):
    other = contamination(record(f"uni{FULL}"))
    assert (other.mark, other.findings[0].verdict) == ("c", "undisclosed")
    assert "the hash of these weights is not known to be the release's, which would be no" in other.said
    assert "unverified" in other.said
    known_hash("uni")
    assert (mark(f"uni{FULL}"), contamination(record(f"uni{FULL}")).findings[0].verdict) == ("", "no")
    assert mark(f"uni{FULL}".replace("ab", "cd")) == "c"
    assert mark(f"timm:vit_large_patch16_224{FULL}") == ""  # whatever it is called, it is that file


def test_a_name_counts_for_the_worse_whatever_the_hash():
    assert mark(f"uni{FULL}", "gtex", asked="./gtex") == "C"


def test_the_worst_part_is_shown(known_hash):
    known_hash("uni")
    settings = {"prior": "file:vectors", "weights": "w.pt"}
    alone = contamination(record(f"uni{FULL}"))
    both = contamination(record(f"uni{FULL}", settings=settings, pretrained={"prior": f"scgpt/{HASH[::-1]}"}))
    assert (alone.mark, both.mark) == ("", "c")
    assert [one.verdict for one in both.findings] == ["undisclosed", "undisclosed", "no"]
    predicted = contamination(record(f"phikon-v2{FULL}", settings=settings, pretrained={"method": "stpath/unknown"}))
    assert (predicted.mark, predicted.labels, predicted.findings[0].name) == ("C", True, "stpath")


def test_what_weights_start_from_is_inherited():
    deepspot = {"method": "deepspot-m/unknown"}
    assert "through its backbone" in contamination(record("none", "tcga", asked="./tcga", pretrained=deepspot)).said
    found = contamination(record("none", "of-cellxgene", asked="./of-cellxgene", pretrained=deepspot))
    assert (found.mark, found.findings[0].name) == ("C", "deepspot-m through scgpt")


def test_nothing_has_seen_simulated_slides_and_no_encoder_generated_features():
    stpath = {"method": "stpath/unknown"}
    assert contamination(record(f"virchow2{FULL}", "simulated", simulated=True, pretrained=stpath)).findings == ()
    made = {"dataset": "her2st-semisynthetic", "semi_synthetic": True}
    assert contamination(record("given/1", **made)).said == ""
    assert mark("given/1", **made, settings={"prior": "file:vectors"}) == "c"  # its counts are real


@pytest.mark.parametrize("key", ["handcrafted-v1/1", "handcrafted-v1-ctx/1", "mean-rgb/1", "none"])
def test_what_is_computed_has_seen_nothing(key):
    assert [mark(key), mark(key, "mine", asked="./mine")] == ["", ""]


@pytest.mark.parametrize(
    "key", [f"precomputed/1/{HASH}/1024", f"timm:resnet18{FULL}", "grey/1", "given/1", f"uni{FULL}"]
)
def test_what_nobody_said_anything_of_is_undisclosed(key):
    assert [mark(key), mark(key, "mine", asked="./mine")] == ["c", "c"]


def test_photographs_hold_no_slides_of_anybody(known_hash):
    known_hash("resnet50")
    assert [mark(f"resnet50{FULL}"), mark(f"resnet50{FULL}", "mine", asked="./mine")] == ["", ""]
    known_hash("gigapath")
    assert [mark(f"gigapath{FULL}"), mark(f"gigapath{FULL}", "mine", asked="./mine")] == ["", "c"]


def test_the_cohort_that_tests_is_the_one_that_counts():
    stpath = {"method": "stpath/unknown"}

    def of(trains, tests, asked=None, slide="x"):
        made = record("none", f"{trains}-to-{tests}", pretrained=stpath, slides=[f"{tests}-{slide}"], asked=trains)
        made.task.train = ["SPA154"]
        made.task.test_dataset, made.request["test_dataset"] = tests, asked or tests
        return contamination(made)

    assert (of("her2st", "prad").mark, of("prad", "her2st").mark) == ("c", "C")
    assert "prad" in of("her2st", "prad").said.lower()
    assert of("her2st", "mine", asked="./mine").mark == "c"
    assert of("her2st", "mine", asked="./mine", slide="NCBI692").mark == "C"


def test_a_folder_is_known_by_its_slides_and_its_name_makes_nothing_better(known_hash):
    known_hash("gigapath")
    stpath = {"method": "stpath/unknown"}
    assert mark("none", "mine", asked="./mine", slides=["SPA154"], pretrained=stpath) == "C"
    assert mark("none", "her2st", asked="elsewhere/her2st", pretrained=stpath) == "C"
    assert mark("none", "kidney", asked="elsewhere/kidney", pretrained=stpath) == "c"  # an organ is no cohort
    assert mark(f"gigapath{FULL}", "tcga", asked="./tcga") == "c"


@pytest.mark.parametrize(
    ("key", "used"),
    [
        (NO_ENCODER, None),
        ("mean-rgb/1", Used("encoder", "mean-rgb")),
        (f"uni{FULL}", Used("encoder", "uni", HASH)),
        (f"timm:vit_x.tag{FULL}", Used("encoder", "timm:vit_x.tag", HASH)),
        ("grey/1/of/three", Used("encoder", "grey")),
    ],
)
def test_the_key_of_an_encoder_is_parsed(key, used):
    assert used_encoder(key) == used


def test_a_record_keeps_the_hashes_of_the_files_its_settings_name(tmp_path):
    card = MethodCard(name="m", title="M", entry="m:M")
    file, vectors, table = tmp_path / "w.pt", tmp_path / "vectors", tmp_path / "t.npz"
    file.write_bytes(b"weights")
    np.savez(table, genes=["A"], embedding=np.ones((1, 2)))
    vectors.mkdir()
    (vectors / "prior.json").write_text(json.dumps({"model": "scgpt", "weights_sha256": HASH}))
    digest = hashlib.sha256(b"weights").hexdigest()
    settings = {"weights": str(file), "backbone_weights": str(file), "backbone": "resnet18", "prior": f"file:{vectors}"}
    kept = {"weights": f"released/{digest}", "backbone_weights": f"timm:resnet18/{digest}"}
    assert pretrained_of(card, settings) == {**kept, "prior": f"scgpt/{HASH}"}
    assert list(used_weights(settings, pretrained_of(card, settings))) == [
        Used("gene model", "scgpt", HASH),
        Used("predictor", "released", digest),
        Used("encoder", "timm:resnet18", digest),
    ]
    of_table = pretrained_of(card, {"prior": f"file:{table}?missing=mask"})["prior"]
    assert of_table == f"table/{hashlib.sha256(table.read_bytes()).hexdigest()}"
    assert pretrained_of(card, {"prior": "file:gone", "weights": "gone"}) == {
        "prior": "table/unknown", "weights": "released/unknown",
    }  # fmt: skip


def test_a_method_that_comes_with_weights_names_them(tmp_path):
    card, file = MethodCard(name="m", title="M", entry="m:M", pretrained="stpath"), tmp_path / "w.pt"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert pretrained_of(card, {}) == {"method": "stpath/unknown"}
    assert list(used_weights({}, pretrained_of(card, {}))) == [Used("predictor", "stpath")]
    assert pretrained_of(card, {"weights": str(file)}) == {"weights": f"stpath/{digest}"}
    assert pretrained_of(card, {"weights": None}) == {}  # trained here


def test_settings_that_name_no_weights_leave_nothing():
    plain = MethodCard(name="m", title="M", entry="m:M")
    for settings in (
        {"prior": "coexpression"},
        {"prior": "zinb", "weights": None},
        {"backbone_weights": "random", "backbone": "resnet18"},
        {"backbone_weights": "w.pt", "backbone": "resnet18", "input": "features"},
    ):
        assert pretrained_of(plain, settings) == {}
        assert list(used_weights(settings, {})) == []


def test_older_records_say_nothing_of_their_files_and_are_undisclosed():
    assert mark("handcrafted-v1/1", settings={"prior": "file:vectors"}) == "c"
    assert mark("handcrafted-v1/1", settings={"weights": "w.pt"}) == "c"
    assert mark("handcrafted-v1/1", settings={"prior": "coexpression"}) == ""
