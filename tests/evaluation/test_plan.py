"""Names and options become a plan; a plan says how to repeat itself."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from stbench.catalogue import find_dataset, usual_controls
from stbench.data.image import PatchSpec
from stbench.data.opening import open_dataset
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.evaluation.plan import SERIAL, plan, usual_beside
from stbench.evaluation.request import Request, default_cache, parse_patch
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.sweep.request import SweepRequest
from stbench.studies.tuning.request import TuneRequest
from stbench.text import pairs

NEIGHBOURS, RIDGE = "spatial-neighbours", "ridge"


CONTROLS = [card.name for card in usual_controls("simulated")]
CEILINGS = ["best-from-image", "best-from-truth"]


def planned(tmp_path, *methods, **choices):
    return plan(Request(methods=methods, device="cpu", **choices), tmp_path)


def settings(session):
    return {run.card.name: run.settings.model_dump() for run in session.runs}


def test_controls_follow_the_methods_asked_for(tmp_path):
    session = planned(tmp_path, NEIGHBOURS)
    names = [run.card.name for run in session.runs]
    assert names == [NEIGHBOURS, *(name for name in CONTROLS if name != NEIGHBOURS), *CEILINGS]
    assert [run.requested for run in session.runs] == [True] + [False] * (len(CONTROLS) + 1)
    assert [run.card.name for run in planned(tmp_path, RIDGE, controls=False).runs] == [RIDGE]


def test_the_ceiling_of_neighbouring_cuts_is_for_cohorts_whose_cuts_are_known(tmp_path):
    beside = {
        name: [card.name for card in usual_beside(Request(controls=True), find_dataset(name))]
        for name in ("her2st", "kidney", "simulated")
    }
    assert {name: SERIAL in found for name, found in beside.items()} == {
        "her2st": True, "kidney": False, "simulated": False
    }  # fmt: skip
    assert "ceiling-count-split" in beside["kidney"]


def test_a_plain_setting_goes_to_the_methods_asked_for_that_have_it(tmp_path):
    found = settings(planned(tmp_path, RIDGE, NEIGHBOURS, overrides=("k=3", "clip=4")))
    assert (found[NEIGHBOURS]["k"], found[RIDGE]["clip"]) == (3, 4.0)
    assert found["ridge-rgb"]["clip"] == 5.0


def test_a_named_setting_goes_to_one_method_and_wins(tmp_path):
    overrides = ("clip=4", "ridge-rgb.clip=3", "ridge.clip=2")
    found = settings(planned(tmp_path, RIDGE, overrides=overrides))
    assert (found[RIDGE]["clip"], found["ridge-rgb"]["clip"]) == (2.0, 3.0)
    assert settings(planned(tmp_path, RIDGE, overrides=overrides[::-1])) == found


def test_a_setting_that_only_a_control_has_must_name_it(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown setting of ridge 'k'"):
        planned(tmp_path, RIDGE, overrides=("k=3",))
    assert settings(planned(tmp_path, RIDGE, overrides=(f"{NEIGHBOURS}.k=3",)))[NEIGHBOURS]["k"] == 3


def test_nothing_to_run(tmp_path):
    with pytest.raises(UserError, match="at least one --method"):
        planned(tmp_path)


def test_planning_writes_nothing(tmp_path):
    planned(tmp_path, RIDGE)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_differs_from_the_defaults():
    assert Request(methods=(RIDGE,)).command() == "stbench run --method ridge --dataset simulated --genes 50"
    request = Request(
        methods=("my file.py:M", RIDGE),
        dataset="her2st",
        genes=(200,),
        split="a.json",
        draws=4,
        weights=Path("w.safetensors"),
        overrides=("k=3", "clip=4"),
        controls=False,
        data_root=Path("elsewhere"),
        device="cuda",
    )
    assert shlex.split(request.command()) == [
        *("stbench", "run", "--method", "my file.py:M", "--method", "ridge", "--dataset", "her2st", "--genes", "200"),
        *("--set", "k=3", "--set", "clip=4", "--split", "a.json", "--draws", "4", "--weights", "w.safetensors"),
        "--no-controls",
    ]


def test_a_request_comes_back_from_what_is_kept():
    request = Request(methods=(RIDGE,), seeds=(0, 3), weights=Path("w"), normalization=("log1p", "log2p1"))
    kept = json.loads(json.dumps(request.dump()))
    assert Request.read(kept).command() == request.command()
    with pytest.raises(UnknownNameError, match="unknown option of run 'gens': did you mean genes"):
        Request.read({"gens": 5})


def test_every_option_is_said_once():
    """One list of options: every field has its flag, its help, its group and its place among a command's words."""
    for kind in (Request, SweepRequest, AblateRequest, TuneRequest):
        options = kind.options().values()
        flags = [flag for one in options for flag in one.flags]
        assert len(set(flags)) == len(flags)
        assert len({one.order for one in options}) == len(options)
        assert all(one.help.endswith(".") and one.group for one in options)


def test_folds_of_a_rule(tmp_path):
    folds = planned(tmp_path, RIDGE, split="lopo").folds
    assert [fold.name for fold in folds] == ["lopo-P01", "lopo-P02", "lopo-P03", "lopo-P04"]
    assert sorted(slide for fold in folds for slide in fold.split.test) == sorted(planned(tmp_path, RIDGE).cohort.ids)
    three = planned(tmp_path, RIDGE, split="kfold-3").folds
    assert [fold.name for fold in three] == [f"kfold-3-{i}" for i in (1, 2, 3)]
    alone = planned(tmp_path, RIDGE, split="kfold-3-2").folds
    assert alone[0].split == three[1].split


@pytest.mark.parametrize(
    ("text", "spec"),
    [(None, None), ("224px", PatchSpec(px=224)), ("112um", PatchSpec(um=112)), ("55.5um", PatchSpec(um=55.5))],
)
def test_patch(text, spec):
    assert parse_patch(text) == spec


@pytest.mark.parametrize("text", ["", "224", "px", "-1px", "0um", "1.5px", "224 px", "1e3px"])
def test_no_patch(text):
    with pytest.raises(SettingError, match="--patch: expected a side"):
        parse_patch(text)


def test_pairs():
    assert pairs("--set", ["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("STBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "stbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for an account without an entry
    with pytest.raises(SettingError, match="found none; set STBENCH_CACHE"):
        default_cache()


def test_simulated_sizes(tmp_path):
    cohort, card = open_dataset("simulated", None, ("n_patients=2", "sections_per_patient=2"), tmp_path)
    assert (cohort.ids, card.simulated) == (("P01S1", "P01S2", "P02S1", "P02S2"), True)
    paper, _ = open_dataset("simulated", None, ("paper", "n_spots=100"), tmp_path)
    assert (len(paper.refs), {ref.n_spots for ref in paper.refs}) == (36, {100})


def test_the_encoder_is_the_cohorts_unless_said(tmp_path):
    assert planned(tmp_path, RIDGE).encoder_name == "handcrafted-v1"
    assert planned(tmp_path, RIDGE, encoder="mean-rgb").encoder_name == "mean-rgb"


def test_a_cohort_without_pictures_brings_its_own(tmp_path, write_her2st):
    write_her2st(tmp_path / "her2st", "A1", image=False)
    for section in ("A2", "B1"):
        write_her2st(tmp_path / "her2st", section, image=False, seed=ord(section[0]))
    chosen = {"dataset": "her2st-semisynthetic", "data_root": tmp_path, "simulate": ("share=0.3", "n_genes=4", "dim=4")}
    session = planned(tmp_path / "cache", RIDGE, **chosen)
    lines = dict(session.lines())
    assert (lines["encoder"], lines["patch"]) == ("given", "none (no picture)")
    assert "carry 0.3 of every gene's variance" in lines["about"]
    assert session.cohort.ids == ("A1", "A2", "B1")
    assert "--simulate share=0.3" in session.request.command()


@pytest.mark.parametrize(
    ("simulate", "error", "said"),
    [
        (("shre=1",), UnknownNameError, "unknown setting of her2st-semisynthetic 'shre': did you mean share"),
        (("dim=4",), SettingError, "--simulate: dim must be at least n_genes = 1000, .* found {'dim': '4'}"),
        (("share=2",), SettingError, "--simulate share: Input should be less than or equal to 1, found '2'"),
        (("paper",), SettingError, "expected key=value, found 'paper'"),
    ],
)
def test_bad_settings_of_the_semi_synthetic_cohort(tmp_path, write_her2st, simulate, error, said):
    write_her2st(tmp_path / "her2st", image=False)
    with pytest.raises(error, match=said):
        open_dataset("her2st-semisynthetic", tmp_path, simulate, tmp_path)


def test_the_semi_synthetic_cohort_needs_the_real_one(tmp_path):
    with pytest.raises(UserError, match=r"her2st: expected her2st layout .* found no such folder"):
        open_dataset("her2st-semisynthetic", tmp_path, (), tmp_path)


def test_a_plan_says_which_weights_may_have_seen_the_cohort(tmp_path, write_her2st):
    features = tmp_path / "features"
    features.mkdir()
    for section in ("A1", "B1", "C1"):
        write_her2st(tmp_path / "her2st", section, image=False)
        np.save(features / f"{section}.npy", np.ones((6, 2)))
    asked = {"dataset": "her2st", "data_root": tmp_path, "genes": (2,), "controls": False}
    (note,) = planned(tmp_path, RIDGE, "stem", encoder="precomputed", weights=features, **asked).notes()
    assert note.startswith("ridge, stem: c: encoder precomputed: undisclosed for HER2ST (Andersson 2021): ")
    assert "\n" not in note
    blind = planned(tmp_path, NEIGHBOURS, encoder="precomputed", weights=features, **asked)
    assert blind.notes() == []  # it is given no features
    assert planned(tmp_path, RIDGE).notes() == []  # nothing has seen simulated slides


def test_a_plan_says_which_gene_vectors_may_have_seen_the_cohort(tmp_path, write_her2st):
    for section in ("A1", "B1", "C1"):
        write_her2st(tmp_path / "her2st", section)
    asked = {"dataset": "her2st", "data_root": tmp_path, "genes": (2,), "overrides": ("prior=file:vectors",)}
    (note,) = planned(tmp_path, "flag", RIDGE, **asked).notes()
    assert note.startswith("flag: c: gene model table: undisclosed for HER2ST (Andersson 2021): ")
