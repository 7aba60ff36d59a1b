"""Trials: the preset's first, the same after any interruption, none lost, none twice, held against the best control."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stbench.errors import DataError, UserError
from stbench.evaluation.record import Tuned, read_record
from stbench.evaluation.tuned import Choice, read_choice, read_choices, write_choice
from stbench.grids.lock import only_one
from stbench.studies.tuning import study as studying
from stbench.studies.tuning.ledger import JOURNAL, Ledger
from stbench.studies.tuning.results import read_study

from .conftest import METHODS, STIFF, TINY, request, trials


class Killed(BaseException):
    """What no handler of ours may catch."""


def predictions(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("predictions/*")) if path.is_file()}


def test_a_trial_gains_the_mean_over_inner_folds_of_its_score_less_the_best_controls(study, here, tmp_path):
    study(tmp_path, trials=2)
    for number, _, _, _, value, inner, _ in trials(tmp_path):
        gains = []
        for fold in ("inner-1", "inner-2"):
            mine = read_record(tmp_path / f"lopo-P01/stiff/trial-{number:03d}/{fold}-seed0").metrics["pcc"].mean
            bars = [read_record(path).metrics["pcc"].mean for path in tmp_path.glob(f"lopo-P01/controls/*/{fold}")]
            assert len(bars) == 2
            gains.append(mine - max(bars))
        assert list(inner) == pytest.approx(gains, abs=1e-12)
        assert value == pytest.approx(sum(gains) / 2, abs=1e-12)


def test_the_first_trial_is_the_presets_own_and_the_best_one_is_chosen(study, here, tmp_path):
    assert study(tmp_path, trials=4) == []
    found = trials(tmp_path)
    assert found[0][3] == {}
    assert all(set(one[3]) == {"alpha", "clip"} for one in found[1:])
    choice = read_choice(tmp_path / "lopo-P01/stiff/settings.toml")
    best = max(found, key=lambda one: (one[4], -one[0]))
    assert (choice.tuned.trial, choice.tuned.value, choice.tuned.default) == (best[0], best[4], found[0][4])
    assert choice.tuned.value >= choice.tuned.default
    assert choice.tuned.settings == {name: json.loads(text) for name, text in best[3].items()}
    assert choice.test == ["P01S1"]
    assert choice.tuned.slides == ["P02S1", "P03S1", "P04S1"]


def test_a_sampler_is_tuned_by_its_crps_and_less_is_more(study, here, tmp_path):
    study(tmp_path, methods=["linear-gaussian"], trials=2)
    gain = trials(tmp_path, "lopo-P01/linear-gaussian")[0][5][0]
    mine = read_record(tmp_path / "lopo-P01/linear-gaussian/trial-000/inner-1-seed0").metrics["crps"].mean
    bars = [read_record(path).metrics["crps"].mean for path in tmp_path.glob("lopo-P01/controls/*/inner-1")]
    assert gain == pytest.approx(min(bars) - mine, abs=1e-12)


def test_several_seeds_are_one_trial(study, here, tmp_path):
    study(tmp_path, trials=1, seeds=[0, 1])
    assert {path.name for path in tmp_path.glob("lopo-P01/stiff/trial-000/*")} == {
        f"inner-{fold}-seed{seed}" for fold in (1, 2) for seed in (0, 1)
    }
    assert len(trials(tmp_path)) == 1


def interrupted_at(monkeypatch, place):
    """Interrupt at a place: between any two writes of the journal, in cells, before the choice is written."""
    if place == "choice":
        monkeypatch.setattr(studying, "write_choice", _killed)
        return
    if place.startswith("cell "):
        run, wanted = studying._Bench.run, place.removeprefix("cell ")

        def cells(self, cells):
            found = run(self, cells)
            if any(wanted in cell.folder for cell in cells):
                raise Killed
            return found

        monkeypatch.setattr(studying._Bench, "run", cells)
        return
    name, number = place.split()
    method = getattr(Ledger, name)

    def told(self, study, *rest):
        if name == "ask" and len(self.trials(study)) == int(number):
            method(self, study, *rest)  # it is in the journal, and nobody has begun it
            raise Killed
        if name == "tell" and rest[0].number == int(number):
            id_ = self._storage.get_trial_id_from_study_id_trial_number(self._study(study), int(number))
            self._storage.set_trial_user_attr(id_, "seconds", 0.0)  # half of it
            raise Killed
        return method(self, study, *rest)

    monkeypatch.setattr(Ledger, name, told)


def _killed(*_):
    raise Killed


PLACES = ("cell controls/ridge", "ask 1", "cell trial-002/inner-1", "tell 5", "choice")


def test_a_study_that_is_killed_five_times_has_the_trials_of_an_undisturbed_one(study, here, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    study(whole, trials=6)
    here.clear()
    for place in PLACES:
        with monkeypatch.context() as patched:
            interrupted_at(patched, place)
            with pytest.raises(Killed):
                study(parts, trials=6)
        with (parts / JOURNAL).open("ab") as file:
            file.write(b'{"op_code": 4, "half a l')  # and the last write was cut
    study(parts, trials=6)
    assert trials(parts) == trials(whole)
    assert len(trials(parts)) == 6
    assert {one[1] for one in trials(parts)} <= {"complete", "pruned"}
    assert predictions(parts) == predictions(whole)
    assert len(here) == len(set(here))  # no cell was run twice
    path = "lopo-P01/stiff/settings.toml"
    assert (parts / path).read_bytes() == (whole / path).read_bytes()


@pytest.mark.slow
def test_killed_by_the_system_five_times(tmp_path, cache):
    command = [
        sys.executable, "-m", "stbench", "tune", "--method", STIFF, "--dataset", "simulated", "--encoder", "mean-rgb",
        "--genes", "4", "--split", "lopo-P01", "--trials", "4", "--inner", "2",
        *(word for setting in TINY for word in ("--simulate", setting)),
    ]  # fmt: skip
    here = {**os.environ, "STBENCH_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([*command, "--out", "whole"], cwd=tmp_path, env=here, check=True, capture_output=True)
    records = len([*(tmp_path / "whole").rglob("record.json")])
    for share in (0.1, 0.4, 0.6, 0.75, 0.9):
        process = subprocess.Popen([*command, "--out", "parts"], cwd=tmp_path, env=here, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)  # fmt: skip
        while process.poll() is None and len([*(tmp_path / "parts").rglob("record.json")]) < share * records:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "--out", "parts"], cwd=tmp_path, env=here, check=True, capture_output=True)
    assert trials(tmp_path / "parts") == trials(tmp_path / "whole")
    assert predictions(tmp_path / "parts") == predictions(tmp_path / "whole")


def test_two_at_a_time_lose_no_trial_and_double_none(study, few_controls, tmp_path):
    study(tmp_path, jobs=2, trials=5, inner=1)
    found = trials(tmp_path)
    assert [one[0] for one in found] == list(range(5))
    assert {one[1] for one in found} <= {"complete", "pruned"}
    assert len({json.dumps(one[3], sort_keys=True) for one in found}) == 5
    for number, _, _, overrides, _, _, _ in found:
        settings = read_record(tmp_path / f"lopo-P01/stiff/trial-{number:03d}/inner-1-seed0").settings
        assert all(settings[name] == json.loads(text) for name, text in overrides.items())


def test_two_at_a_time_that_are_killed_go_on_with_both(study, here, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        interrupted_at(patched, "cell trial-002/inner-1")
        with pytest.raises(Killed):
            study(tmp_path, jobs=2, trials=4)
    running = [one for one in trials(tmp_path) if one[1] == "running"]
    assert [one[0] for one in running] == [2, 3]
    study(tmp_path, jobs=2, trials=4)
    assert [one[3] for one in trials(tmp_path)[2:]] == [one[3] for one in running]
    assert [one[1] for one in trials(tmp_path)] == ["complete"] * 4
    assert len(here) == len(set(here))


def test_more_trials_and_methods_may_be_added_to_a_folder(begun, here, tmp_path):
    first = trials(tmp_path)
    begun(tmp_path, trials=2, methods=[STIFF, "ridge"])
    assert trials(tmp_path)[:1] == first
    assert len(trials(tmp_path)) == len(trials(tmp_path, "lopo-P01/ridge")) == 2
    assert not any("controls" in folder or "trial-000" in folder for folder in here if "/stiff/" in folder)
    assert set(read_choices(tmp_path)) == {("lopo-P01", "stiff"), ("lopo-P01", "ridge")}


def test_minutes_end_a_method_between_trials(study, here, tmp_path):
    study(tmp_path, trials=4, minutes=1e-9)
    (found,) = read_study(tmp_path).tunings
    assert len(found.trials) == 1
    assert found.cut
    study(tmp_path, trials=4)
    assert len(trials(tmp_path)) == 4


def test_trials_that_fail_are_kept_and_the_others_go_on(study, here, tmp_path):
    assert study(tmp_path, methods=[f"{METHODS}:FailsFirst"]) == []
    found = trials(tmp_path, "lopo-P01/failsfirst")
    assert [one[1] for one in found] == ["failed", "complete", "complete"]
    assert found[0][6] == "failed: ValueError: five is no number"
    assert read_choice(tmp_path / "lopo-P01/failsfirst/settings.toml").tuned.default is None


def test_reasons_are_grouped_where_all_trials_failed(study, here, tmp_path):
    (said,) = study(tmp_path, methods=[f"{METHODS}:Fails"])
    assert said == (
        "fails in lopo-P01: all 3 trials failed: 2 times failed: ValueError: four is no number; failed: ValueError: "
        "three is no number"
    )
    assert not (tmp_path / "lopo-P01/fails/settings.toml").exists()


def test_a_trial_below_the_median_is_given_up(study, here, tmp_path, monkeypatch):
    gains = iter([9.0, 9.0] * 4 + [0.0])  # the fifth trial ends after one inner fold
    monkeypatch.setattr(studying._Tuning, "_gains", lambda *_: ([next(gains)], []))
    study(tmp_path, trials=5)
    assert [one[1] for one in trials(tmp_path)] == ["complete"] * 4 + ["pruned"]
    assert not [*tmp_path.glob("lopo-P01/stiff/trial-004/inner-2*")]


@pytest.mark.parametrize(
    "other", [{"seeds": [1]}, {"genes": [5]}, {"inner": 1}, {"split": "lopo-P02"}, {"overrides": ["clip=3"]}]
)
def test_a_folder_holds_one_study(begun, tmp_path, other):
    with pytest.raises(UserError, match=r"belongs to another study: .* -> .*; choose another --out"):
        begun(tmp_path, trials=1, **other)


def test_a_folder_that_is_no_study(study, here, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"expected an empty or new folder at .*, found notes.txt"):
        study(tmp_path)


def test_a_journal_that_another_process_holds(begun, tmp_path):
    with only_one(tmp_path / studying.LOCK), pytest.raises(UserError, match="another process is at work in"):
        begun(tmp_path)
    (tmp_path / f"{JOURNAL}.lock").touch()
    with pytest.raises(UserError, match=r"another program is writing .*it holds trials\.journal\.lock"):
        begun(tmp_path)
    (tmp_path / f"{JOURNAL}.lock").unlink()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join([lines[0], b"{}\n", *lines[1:]]))
    with pytest.raises(DataError, match=r"expected a journal of optuna in .*; choose another --out"):
        begun(tmp_path)


def test_data_that_changed_in_between(begun, tmp_path, monkeypatch):
    bars = studying._bars

    def moved(*rest):
        return [studying._Bar("f" * 64, bar.scores) for bar in bars(*rest)]

    monkeypatch.setattr(studying, "_bars", moved)
    with pytest.raises(DataError, match="expected task ffffffff as in the controls of the inner fold"):
        begun(tmp_path, trials=2)


def test_settings_that_somebody_changed(begun, tmp_path):
    path = tmp_path / "lopo-P01/stiff/settings.toml"
    assert "trials = 1" in path.read_text()
    path.write_text(path.read_text().replace("trials = 1", "trials = 3"))
    with pytest.raises(DataError, match="other content than was written"):
        read_choice(path)
    for text in ("[task\n", "", "tuned = [1]\n", "fold = 3\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="expected what stbench tune wrote in"):
            read_choice(path)


def test_settings_come_back_as_they_were_written(tmp_path):
    said = {"study": "a" * 64, "trial": 1, "trials": 2, "objective": "pcc", "value": 1e-5, "slides": ["é 🐭"]}
    settings = {"lr": 1e-05, "big": 1e22, "k": 3, "on": True, "text": 'a "b" \\n', "some": [1, 2]}
    choice = Choice(method="m", fold="lopo-é", test=["x"], task={"genes": [4]}, tuned=Tuned(**said, settings=settings))
    assert read_choice(write_choice(choice, tmp_path)) == choice


def test_what_stays_by_hand_is_not_tried(study, here, tmp_path):
    study(tmp_path, trials=2, overrides=["clip=3"])
    assert set(trials(tmp_path)[1][3]) == {"alpha"}
    assert read_choice(tmp_path / "lopo-P01/stiff/settings.toml").tuned.settings["clip"] == 3
    assert request(overrides=["clip=3"]).command().count("--set clip=3") == 1
