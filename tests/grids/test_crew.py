"""Workers: what they are given, and what no method can find in them."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stbench.catalogue import MethodCard
from stbench.evaluation.build import build_task
from stbench.evaluation.record import read_record
from stbench.evaluation.run import prepare
from stbench.features.encoders import load_encoder
from stbench.grids.cells import Cell, MethodRun
from stbench.grids.crew import Crew, share_of_cores
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.grids.gpus import own_gpu
from stbench.reporting import SILENT

from ..evaluation.conftest import make_cohort, scrambled

DIGGERS, ENDERS = (Path(__file__).with_name(f"{name}.py") for name in ("diggers", "enders"))


class Quiet:
    def started(self, cell): ...
    def progressed(self, cell, text): ...
    def said(self, cell, message): ...
    def finished(self, cell, outcome): ...


@pytest.fixture
def bare(slides):
    """The tiny slides without pictures, whose class another process could not import."""
    return [replace(slide, image=None, adata=with_features(slide)) for slide in slides]


def with_features(slide):
    adata = slide.adata.copy()
    adata.obsm["features"] = np.log1p(slide.xy) + 1
    return adata


@pytest.fixture
def desk(bare, card, tmp_path):
    return Desk(make_cohort(bare), card, load_encoder("given"), tmp_path / "cache", "cpu")


@pytest.fixture
def cell(settings):
    """Makes a cell of a method of the file."""

    def make(name, fold=None, file=DIGGERS, **facts):
        entry = f"{file}:{name}"
        run = MethodRun(MethodCard(name=name.lower(), title=name, entry=entry, **facts), "paper", {})
        task = replace(settings, encoder="given", split=fold or settings.split)
        return Cell(f"{Path(task.split).stem}/{name}", name, "5", task, run)

    return make


def found_by(out, cell):
    """What a digger wrote beside its run."""
    record = read_record(out / cell.folder)
    assert record.status == "done", record.reason
    return json.loads((out / cell.folder / "found.json").read_text())


def test_no_truth_of_a_test_slide_is_in_a_worker(desk, cell, tmp_path):
    """Through the garbage collector, the mapped files and the files it holds open, whatever ran before it."""
    one = cell("Digs")
    execute([cell("Plain"), one], desk, tmp_path, 1, Quiet())
    found = found_by(tmp_path, one)
    task = desk.task(one.task, SILENT)
    n_spots = dict.fromkeys(task.facts.n_spots, 16)
    labelled = sum(n_spots[id_] for id_ in [*task.facts.train, *task.facts.validation])
    assert found["objects"] == []
    assert set(found["bytes"]) == {labelled * 5 * 4, sum(n_spots.values()) * 2 * 4}  # labels and features alone


def test_a_worker_serves_one_fold_and_no_secret_reaches_others(desk, cell, tmp_path):
    order = [
        cell("Digs"),
        cell("Plain"),
        cell("Sees", kind="oracle"),
        cell("Digs", fold="kfold-4-1"),
        cell("Plain", fold="kfold-4-1"),
    ]
    execute(order, desk, tmp_path, 1, Quiet())
    pids = {one.folder: found_by(tmp_path, one)["pid"] for one in order}
    mine = order[0].folder.partition("/")[0]
    assert pids[f"{mine}/Digs"] == pids[f"{mine}/Plain"] == pids[f"{mine}/Sees"]
    assert pids["kfold-4-1/Digs"] == pids["kfold-4-1/Plain"] != pids[f"{mine}/Digs"]


def test_who_has_seen_the_truth_serves_nobody_else(desk, cell, tmp_path):
    crew = Crew(tmp_path, 1)
    try:
        pids = []
        for one in (cell("Sees", kind="oracle"), cell("Plain")):
            job = desk.prepare(one, tmp_path, SILENT).job
            worker = crew.hand("fold", job)
            pids.append(worker.process.pid)
            while crew.news()[0][1] != "finished":
                pass
    finally:
        crew.stop()
    assert pids[0] != pids[1]


def test_predictions_do_not_depend_on_the_labels_of_test_slides(bare, card, cell, tmp_path):
    """In a worker as in this process; only scores move."""
    test = ("P3-s0", "P3-s1", "P2-s1")
    changed = [replace(scrambled(slide), image=None) if slide.id in test else slide for slide in bare]
    records = []
    for name, some in (("a", bare), ("b", changed)):
        desk = Desk(make_cohort(some), card, load_encoder("given"), tmp_path / "cache", "cpu")
        execute([cell("Plain")], desk, tmp_path / name, 1, Quiet())
        records.append(read_record(tmp_path / name / "mine" / "Plain"))
    assert records[0].predictions == records[1].predictions
    assert records[0].metrics["mse"] != records[1].metrics["mse"]


def test_the_same_in_a_worker_and_in_this_process(desk, cell, bare, card, tmp_path):
    one = cell("Plain")
    execute([one], desk, tmp_path / "worker", 1, Quiet())
    task = build_task(make_cohort(bare), card, one.task)
    from stbench.evaluation.run import run_method

    here = run_method(task, one.run.card, folder=tmp_path / "here")
    there = read_record(tmp_path / "worker" / one.folder)
    assert (here.metrics, here.predictions) == (there.metrics, there.predictions)
    assert prepare(task, one.run.card, folder=tmp_path / "here", preset="paper", resume=True) == here


ENDS = {
    "Exits": ("failed", "SystemExit: enough"),
    "Silent": ("failed", "RuntimeError"),
    "Mute": ("failed", "MuteError"),
    "Odd": ("failed", r"ValueError: \x00\x1b[31m\ud800"),
    "Own": ("failed", "OwnError: mine"),
    "Interrupts": ("failed", "KeyboardInterrupt"),
    "Lacks": ("failed", "ModuleNotFoundError: No module named 'no_such_package_of_anybody'"),
    "Complains": ("failed", "SettingError"),
    "Refuses": ("refused", r"no\x07 way"),
    "Leaves": ("failed", "its worker process ended with code 0"),
    "Signalled": ("failed", f"its worker process was ended by signal {signal.SIGRTMIN + 2}"),
    "Deletes": ("failed", "ValueError: gone"),
    "Plain": ("done", None),
}


class Keeps(Quiet):
    """Remembers messages."""

    def __init__(self):
        self.messages = []

    def said(self, cell, message):
        self.messages.append(message)


def test_no_method_ends_the_harness(desk, cell, tmp_path):
    told, cells = Keeps(), [cell(name, file=ENDERS) for name in ENDS]
    outcomes = execute(cells, desk, tmp_path, 1, told)
    found = {one.row: (outcomes[one.folder].status, outcomes[one.folder].reason) for one in cells}
    assert found == ENDS
    assert told.messages == [r"\ud800 half\x1b[2J"]
    for one in cells:
        if one.row != "Complains":  # the user can mend it: it leaves no record
            assert read_record(tmp_path / one.folder).reason == ENDS[one.row][1]


def test_threads_are_shared(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share_of_cores(10_000) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert share_of_cores(1) == 1


def test_workers_that_live_at_once_have_a_gpu_each(desk, cell, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    crew = Crew(tmp_path, 2)
    job = desk.prepare(cell("Sees", file=ENDERS), tmp_path, SILENT).job
    try:
        workers = [crew.hand("fold", job) for _ in range(2)]
        seen = {}
        while len(seen) < 2:
            seen |= {worker.number: said.reason for worker, kind, said in crew.news() if kind == "finished"}
        assert seen == {1: "RuntimeError: GPU-a", 2: "RuntimeError: GPU-b"}
        crew.workers.remove(workers[0])
        workers[0].stop()
        assert crew.hand("another", job).gpu == "GPU-a"
    finally:
        crew.stop()


@pytest.mark.parametrize(("visible", "taken", "gpu"), [
    ("", [], None),
    ("1", [], None),
    ("1,0", [], "1"),
    ("1,0", ["1"], "0"),
    ("1,0", ["1", "0", "0"], "1"),
])  # fmt: skip
def test_the_gpu_with_the_fewest_workers(monkeypatch, visible, taken, gpu):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert own_gpu(taken) == gpu


def test_gpus_are_counted_where_none_are_named(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert own_gpu(["0", "1"]) == "2"
