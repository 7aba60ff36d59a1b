"""Studies of a quick method on a simulated cohort of four patients, in this process unless a test says otherwise."""

import shutil
from pathlib import Path

import pytest

from stbench.catalogue import method_cards
from stbench.evaluation.record import Record
from stbench.evaluation.run import conclude
from stbench.evaluation.worker import work
from stbench.grids.cells import SilentListener, outcome_of
from stbench.reporting import SILENT
from stbench.studies.tuning import plan as planning
from stbench.studies.tuning import study as studying
from stbench.studies.tuning.ledger import Ledger
from stbench.studies.tuning.plan import plan_tuning
from stbench.studies.tuning.request import TuneRequest
from stbench.studies.tuning.study import Hands, carry_out_study

METHODS = Path(__file__).with_name("methods.py")
TINY = ("n_patients=4", "sections_per_patient=1", "n_spots=16", "n_genes=30", "um_per_px=4")
STIFF = f"{METHODS}:Stiff"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that all tests share."""
    return tmp_path_factory.mktemp("cache")


def request(**changes):
    said = {
        "methods": [STIFF], "dataset": "simulated", "simulate": TINY, "encoder": "mean-rgb", "genes": [4],
        "split": "lopo-P01", "trials": 3, "inner": 2,
    }  # fmt: skip
    return TuneRequest.read({**said, **changes})


@pytest.fixture
def few_controls(monkeypatch):
    """Two controls are enough of a bar."""
    monkeypatch.setattr(
        planning, "usual_controls", lambda origin: [method_cards()[n] for n in ("ridge", "training-mean")]
    )


@pytest.fixture
def here(monkeypatch, few_controls):
    """Cells run one after the other in this process; returns the folders of those that ran."""
    ran = []

    def execute(cells, desk, out, jobs, listener):
        found = {}
        for cell in cells:
            prepared = desk.prepare(cell, out, SILENT)
            done = prepared if isinstance(prepared, Record) else conclude(prepared, work(prepared.job, SILENT))
            found[cell.folder] = outcome_of(done)
            ran.append(cell.folder)
        return found

    monkeypatch.setattr(studying, "execute", execute)
    monkeypatch.setattr(studying, "call_early", lambda: None)
    return ran


@pytest.fixture
def study(cache):
    """Plans and carries out; returns what failed."""

    def carry(out, jobs=1, dask=None, **changes):
        plan = plan_tuning(request(**changes), out, cache)
        return carry_out_study(plan, Hands(jobs, SilentListener(), SILENT, dask))

    return carry


@pytest.fixture(scope="session")
def kept_study(tmp_path_factory):
    """Where the study of one trial lies that the first test of a process carries out."""
    return tmp_path_factory.mktemp("kept") / "study"


@pytest.fixture
def begun(study, here, kept_study, tmp_path):
    """A study of one trial in ``tmp_path``, ended as ``study(tmp_path, trials=1)`` would; no test ran its cells."""
    if not kept_study.exists():
        assert study(tmp_path, trials=1) == []
        shutil.copytree(tmp_path, kept_study)
        here.clear()
    else:
        shutil.copytree(kept_study, tmp_path, dirs_exist_ok=True)
    return study


def trials(out, name="lopo-P01/stiff"):
    """Every trial of a study, without the time it took."""
    return [(t.number, t.state, t.params, t.overrides, t.value, t.inner, t.reason) for t in Ledger(out).trials(name)]
