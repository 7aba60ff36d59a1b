"""`stbench tune` and `stbench run --tuned`, on a tiny simulated cohort."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from stbench.evaluation.record import read_record
from stbench.evaluation.tuned import read_choice
from stbench.grids.lock import only_one
from stbench.studies.tuning import plan as planning
from stbench.studies.tuning import study as studying
from stbench.studies.tuning.request import TuneRequest
from stbench.studies.tuning.study import LOCK

from ..studies.tuning.conftest import METHODS, STIFF, TINY, few_controls, here, trials

__all__ = ["few_controls", "here"]

COHORT = [*(word for setting in TINY for word in ("--simulate", setting)), "--encoder", "mean-rgb", "--genes", "4"]
TUNE = ["tune", *COHORT, "--method", STIFF, "--split", "lopo", "--trials", "2", "--inner", "1", "--out", "study"]
RUN = ["run", *COHORT, "--preset", "small", "--no-controls"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the study lies that the first test of a process carries out, and how it ended."""
    return tmp_path_factory.mktemp("kept") / "study", []


@pytest.fixture
def tuned(stbench, here, kept):
    """A finished study."""
    folder, ended = kept
    if not ended:
        ended.append(stbench(*TUNE))
        assert ended[0].code == 0, ended[0].err
        shutil.copytree("study", folder)
    else:
        shutil.copytree(folder, "study")
    return ended[0]


def test_from_names_to_settings_and_a_page(stbench, tuned):
    assert "inner folds  1 inner fold of 3, one patient left out in each" in tuned.out
    assert "tunes stiff  by pcc; alpha 0.1 to 10000, log; clip 1 to 9" in tuned.out
    assert "lopo-P04/stiff: trial 2 of 2: pcc " in tuned.err
    for patient in range(1, 5):
        assert read_choice(Path(f"study/lopo-P0{patient}/stiff/settings.toml")).tuned.trials == 2
    (page,) = Path("study").glob("*.md")
    assert {path.suffix for path in Path("study").glob(f"{page.stem}.*")} == {".md", ".csv", ".png", ".svg"}
    text = page.read_text()
    assert "the slides that test in one were not read" in text
    assert "| stiff | 8 | 8 | 0 | 0 | " in text
    assert len(page.with_suffix(".csv").read_text().splitlines()) == 9
    command = text.rsplit("```\n")[-2].strip()
    assert "--trials 2" in command
    assert "--inner 1" in command


def test_the_same_command_continues(stbench, tuned, here):
    pages = {path: path.read_bytes() for path in Path("study").glob("simulated-tune-*")}
    here.clear()
    assert stbench(*TUNE).code == 0
    assert here == []
    assert {path: path.read_bytes() for path in Path("study").glob("simulated-tune-*")} == pages


def test_default_and_tuned_stand_beside_each_other(stbench, tuned, monkeypatch):
    words = [*RUN, "--method", STIFF, "--split", "lopo", "--seeds", "0,1"]
    assert stbench(*words, "--out", "runs").code == 0
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("record.json")}
    ended = stbench(*words, "--tuned", "study", "--out", "runs")
    assert ended.code == 0, ended.err
    assert "16 in all, 8 finished, 8 to run" in ended.out
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    for patient in range(1, 5):
        record = read_record(Path(f"runs/lopo-P0{patient}/log1p/stiff-tuned-seed1"))
        choice = read_choice(Path(f"study/lopo-P0{patient}/stiff/settings.toml"))
        assert record.tuned == choice.tuned
        assert all(record.settings[name] == value for name, value in choice.tuned.settings.items())
        assert not {*record.tuned.slides} & {*record.task.test}
        assert "--tuned study" in record.command
        assert read_record(Path(f"runs/lopo-P0{patient}/log1p/stiff-seed1")).tuned is None
    assert stbench("leaderboard", "runs", "--out", "boards").code == 0
    (page,) = Path("boards").glob("*.md")
    text = page.read_text()
    assert "| stiff | " in text
    assert "| stiff (tuned) | " in text
    assert "- `(tuned)`: settings chosen in every fold by `stbench tune`: stiff (2 trials by pcc" in text
    assert "That no test slide had a part in it" in text
    assert "`T`" not in text
    assert "8 finished, 0 to run" in stbench("run", *RUN[1:], "--method", STIFF, "--split", "lopo", "--seeds", "0,1",
                                             "--out", "runs").out  # fmt: skip


def test_one_fold_and_one_seed_have_folders_of_their_names(stbench, tuned):
    ended = stbench(*RUN, "--method", STIFF, "--split", "lopo-P02", "--tuned", "study", "--out", "one")
    assert ended.code == 0, ended.err
    assert read_record(Path("one/stiff-tuned")).tuned.objective == "pcc"
    assert (
        "2 in all, 2 finished"
        in stbench("cell", "one", "stiff-tuned").out
        + stbench(*RUN, "--method", STIFF, "--split", "lopo-P02", "--tuned", "study", "--out", "one").out
    )


def test_cells_of_a_study_by_their_names(stbench, tuned):
    name = "lopo-P03/stiff/trial-001/inner-1-seed0"
    record = Path("study", name, "record.json")
    before = json.loads(record.read_text())["metrics"]
    record.unlink()
    ended = stbench("cell", "study", name)
    assert ended.code == 0, ended.err
    assert json.loads(record.read_text())["metrics"] == before


@pytest.mark.parametrize(("words", "said"), [
    (["--trials", "0"], "--trials: expected at least 1, found 0"),
    (["--inner", "0"], "--inner: expected at least 1, found 0"),
    (["--minutes", "0"], "--minutes: expected more than 0, found 0; leave it out for no limit"),
    (["--jobs", "0"], "--jobs: expected at least 1 worker, found 0"),
    (["--genes", "4,5"], "--genes: expected one, found 4, 5; use a folder for each"),
    (["--normalize", "log1p", "--normalize", "log2p1"], "--normalize: expected one, found log1p, log2p1"),
    (["--method", f"{METHODS}:Unknown"], "unknown knob, no setting of unknown, 'stiffness': known: alpha, clip; mend"),
    (["--method", f"{METHODS}:TooWide"], "[search] of toowide: expected a range of clip that preset small accepts"),
    (["--method", f"{METHODS}:NoRange"], "expected low below high, found 9.0 and 1.0"),
    (["--method", "training-mean"], "expected a table [search] on the card of training-mean, found none"),
    (["--set", "stiff.alpha=1", "--set", "stiff.clip=2"], "expected a knob of stiff to try, found all set by --set"),
    (["--simulate", "n_patients=2"], "--simulate: expected n_patients once"),
])  # fmt: skip
def test_what_no_study_can_be(stbench, words, said):
    assert said in stbench(*TUNE, *words).reason
    assert not Path("study").exists()


def test_too_few_patients_for_inner_folds(stbench, here):
    words = ["n_patients=3" if word == "n_patients=4" else word for word in TUNE]
    assert "inner folds: expected a third patient or a second slide of one of two" in stbench(*words).reason


def test_all_trials_failed(stbench, here):
    words = ["--split", "lopo-P01", "--trials", "3", "--inner", "1", "--out", "study"]
    ended = stbench("tune", *COHORT, "--method", f"{METHODS}:Fails", *words)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        "stbench: error: expected a trial that ends, found none for fails in lopo-P01: all 3 trials failed: 2 times "
        "failed: ValueError: four is no number; failed: ValueError: three is no number; mend that, choose another --out"
    )
    assert "all failed" in ended.out
    assert (
        next(Path("study").glob("*.md")).read_text().count("2 trials failed: failed: ValueError: four is no number")
        == 1
    )


def test_a_study_of_another_task_in_that_folder(stbench, tuned):
    reason = stbench(*TUNE, "--split-seed", "1").reason
    assert reason == "study belongs to another study: split_seed 0 -> 1; choose another --out"
    assert "expected an empty or new folder at study, found tuning.json" in stbench(*RUN, "--method", STIFF, "--out",
                                                                                    "study").reason  # fmt: skip


def test_a_storage_that_is_locked(stbench, tuned):
    with only_one(Path("study") / LOCK):
        assert "another process is at work in study" in stbench(*TUNE).reason
    Path("study/trials.journal.lock").touch()
    assert "another program is writing study/trials.journal" in stbench(*TUNE).reason


@pytest.mark.parametrize(("words", "said"), [
    (["--tuned", "nowhere"], "--tuned: expected the folder of a study at nowhere, found no settings.toml in it"),
    (["--tuned", "study", "--method", "ridge"], "expected settings of ridge in fold lopo-P01, found those of stiff"),
    (["--tuned", "study", "--split", "patient-kfold-3"],
     "of stiff in fold patient-kfold-3-1, found those of stiff in lopo-P01, lopo-P02, lopo-P03, lopo-P04; tune it"),
    (["--tuned", "study", "--preset", "paper"], "found one of another: preset 'small' -> 'paper'"),
    (["--tuned", "study", "--genes", "5"], "expected a study of this task, found one of another: genes [4] -> [5]"),
])  # fmt: skip
def test_a_study_that_a_run_cannot_take(stbench, tuned, words, said):
    assert said in stbench(*RUN, "--method", STIFF, "--split", "lopo", "--out", "runs", *words).reason
    assert not Path("runs").exists()


def test_a_study_whose_folds_had_other_slides(stbench, tuned):
    words = ["n_patients=5" if word == "n_patients=4" else word for word in RUN]
    reason = stbench(*words, "--method", STIFF, "--split", "lopo-P01", "--tuned", "study", "--out", "runs").reason
    assert "found one of another: simulate" in reason
    path = Path("study/lopo-P02/stiff/settings.toml")
    path.write_text(path.read_text().replace("P02S1", "P03S1"))
    reason = stbench(*RUN, "--method", STIFF, "--split", "lopo-P02", "--tuned", "study", "--out", "runs").reason
    assert "found: other content than was written, by its hash; write it again" in reason


def test_a_dry_run_writes_nothing(stbench):
    ended = stbench(*TUNE, "--dry-run")
    assert ended.code == 0
    assert "fits         8 at most" in ended.out
    assert "estimate  stiff: seconds each, 8 cells" in ended.out
    assert not Path("study").exists()


def test_a_folder_of_its_own_below_runs(stbench, here):
    words = [word for word in TUNE if word not in ("--out", "study")]
    assert stbench(*words, "--split", "lopo-P01").code == 0
    (folder,) = Path("runs").iterdir()
    assert trials(folder)


def test_an_interruption_leaves_a_page_and_goes_on(stbench, here, monkeypatch):
    bench = studying._Bench.run
    with monkeypatch.context() as patched:

        def interrupted(self, cells):
            if any("lopo-P02/stiff/trial-001" in cell.folder for cell in cells):
                raise KeyboardInterrupt
            return bench(self, cells)

        patched.setattr(studying._Bench, "run", interrupted)
        ended = stbench(*TUNE)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == "stbench: interrupted; the same command with --out study continues"
    assert (
        "| stiff | lopo-P03 | PCC ↑ | - | - | - | - | - | none ended |" in next(Path("study").glob("*.md")).read_text()
    )
    here.clear()
    assert stbench(*TUNE).code == 0
    assert "lopo-P02/stiff/trial-001/inner-1-seed0" in here
    assert not [folder for folder in here if folder.startswith("lopo-P01/")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own
def test_on_a_cluster(stbench, tuned, cache):
    distributed = pytest.importorskip("distributed")
    here = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(processes=True, **here) as cluster:
        words = [word if word != "study" else "there" for word in TUNE]
        ended = stbench(*words, "--split", "lopo-P01", "--jobs", "2", "--dask", cluster.scheduler_address)
    assert ended.code == 0, ended.err
    assert [trial[1] for trial in trials(Path("there"))] == ["complete", "complete"]
    first, other = (trials(Path(folder))[0] for folder in ("there", "study"))
    assert first[3] == other[3] == {}
    ours, theirs = (
        read_record(Path(folder, "lopo-P01/stiff/trial-000/inner-1-seed0")) for folder in ("there", "study")
    )
    assert (ours.metrics, ours.predictions) == (theirs.metrics, theirs.predictions)


def test_a_command_says_every_choice(stbench, monkeypatch):
    asked = TuneRequest(
        methods=("ridge", "bleep"), trials=7, minutes=1.5, inner=2, split="patient-kfold-3", preset="paper",
        seeds=(1, 2), genes=(9,), overrides=("ridge.clip=3",), dataset="her2st",
    )  # fmt: skip
    understood = []
    monkeypatch.setattr(planning, "plan_tuning", lambda request, *_: understood.append(request) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stbench(*shlex.split(asked.command())[1:])
    assert understood == [asked]
