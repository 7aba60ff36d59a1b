"""The sheet of pretrained weights: everything registered is in it, and nothing it says is a slip."""

import pytest

from stbench.catalogue import method_cards, pretrained_sheet, read_card
from stbench.catalogue.pretrained import SEVERITY, PretrainedSheet
from stbench.errors import DataError
from stbench.features import encoders
from stbench.features.pathology import RECIPES
from stbench.priors.models import MODELS

SHEET = pretrained_sheet()
TEXT = """
name = "weights"
title = "T"
looked_up = 2026-11-29
cohorts = [{ key = "a", title = "A" }]

[[weights]]
names = ["w"]
kind = "encoder"
data = "d"
source = "s"
known = "read"
seen = [{ cohorts = ["a"], verdict = "no", why = "y" }]
"""


@pytest.mark.parametrize("name", [*RECIPES, *encoders._built_in()])
def test_every_registered_encoder_has_an_entry(name):
    found = SHEET.named(name)
    assert found is not None
    assert found.kind == "encoder"


@pytest.mark.parametrize("name", MODELS)
def test_every_gene_model_has_an_entry(name):
    found = SHEET.named(name)
    assert found is not None
    assert found.kind == "gene model"


def test_weights_that_methods_bring_along_have_an_entry():
    assert [card.name for card in method_cards().values() if card.pretrained and not SHEET.named(card.pretrained)] == []


def test_the_five_cohorts_are_spoken_of_wherever_anything_is():
    five = {"her2st", "kidney", "prad", "dlpfc", "mob"}
    said = {one.names[0]: {cohort for seen in one.seen for cohort in seen.cohorts} for one in SHEET.weights if one.seen}
    assert {name: five - cohorts for name, cohorts in said.items() if five - cohorts} == {}


def test_labels_are_seen_by_what_is_fitted_on_expression_alone():
    assert {one.kind for one in SHEET.weights for seen in one.seen if seen.labels} == {"gene model", "predictor"}


@pytest.mark.parametrize(
    ("name", "cohort", "verdict"),
    [
        ("uni", "gtex", "saw"),
        ("uni", "tcga", "no"),
        ("conch", "kidney", "figures"),
        ("gigapath-crop", "prad", "no"),
        ("phikon-v2", "paip", "undisclosed"),
        ("dinov3-l", "her2st", "undisclosed"),
        ("resnet50", "tcga", "no*"),
        ("geneformer-v1-10m", "kidney", "no*"),
        ("geneformer-v2-104m", "kidney", "sister"),
        ("geneformer", "kidney", "sister"),
        ("geneformer", "her2st", "undisclosed"),
        ("scgpt", "cellxgene", "saw"),
        ("cellplm", "mob", "no*"),
        ("stpath", "dlpfc", "sister"),
        ("stpath", "kidney", "saw"),
        ("omiclip", "mob", "no*"),
        ("delphi", "kidney", "no"),
        ("delphi", "tcga", "undisclosed"),  # through UNI2-h
    ],
)
def test_releases(name, cohort, verdict):
    assert SHEET.as_released(name, cohort).verdict == verdict


def test_what_was_not_read_says_so():
    assert "unverified, recalled" in SHEET.as_released("conch", "prad").said
    assert "unverified, second-hand" in SHEET.as_released("stpath", "prad").said
    assert "unverified" not in SHEET.as_released("phikon-v2", "tcga").said


def test_nothing_is_better_than_what_is_not_known_but_a_no():
    assert sorted(SEVERITY, key=SEVERITY.get) == ["no*", "no", "figures", "sister", "undisclosed", "saw"]


def test_a_file_is_known_by_the_first_digits_of_its_hash():
    file = "0676ba61" + "0" * 56
    assert SHEET.of("encoder", "timm:resnet50", file, "her2st").verdict == "no*"
    assert SHEET.of("encoder", "timm:resnet50", file[::-1], "her2st").verdict == "undisclosed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('verdict = "no"', 'verdict = "none"', r"verdict: Input should be 'saw', 'no', 'no\*', 'undisclosed'"),
        ('cohorts = ["a"]', 'cohorts = ["aa"]', "w: expected a known cohort, found 'aa'; did you mean a?"),
        ('names = ["w"]', 'names = ["w"]\non = ["v"]', "w: expected a known weights, found 'v'"),
        ('names = ["w"]', 'names = ["w", "w"]', "expected every name once, found 'w' twice"),
        ('verdict = "no"', 'verdict = "no", labels = true', "labels: expected only where the verdict is saw, found no"),
        ('known = "read"', 'known = "heard"', "known: Input should be 'read', 'second-hand' or 'recalled'"),
        ('known = "read"', 'known = "read"\nsha256 = ["abc"]', "sha256.0: String should match pattern"),
        ('cohorts = ["a"]', 'cohorts = ["a", "a"]', "expected one finding of a, found 2"),
    ],
)  # fmt: skip
def test_slips_are_errors(tmp_path, old, new, said):
    path = tmp_path / "weights.toml"
    path.write_text(TEXT)
    assert read_card(path, PretrainedSheet).weights[0].names == ["w"]
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(DataError, match=said):
        read_card(path, PretrainedSheet)
