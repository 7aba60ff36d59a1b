"""`stbench cell`, and cells on a Dask cluster."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from stbench.evaluation.record import read_record
from stbench.grids.lock import only_one

from .conftest import TINY

METHODS = Path(__file__).with_name("methods.py")
SMALL = [*TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls"]


def listed(ended):
    """Number and name of every cell that ``--prepare`` lists."""
    lines = [line.split("\t") for line in ended.out.splitlines() if "\t" in line]
    return {number: name for number, name, _ in lines}


def test_cells_one_by_one_are_what_the_command_makes(stbench):
    words = ["run", "--method", "ridge", "--method", "random-spot", *SMALL, "--seeds", "0,1"]
    cells = listed(stbench(*words, "--out", "alone", "--prepare"))
    assert sorted(cells.values()) == [
        f"slide/log1p/{name}-seed{s}" for name in ("random-spot", "ridge") for s in (0, 1)
    ]
    for number in ("1", "2"):
        assert stbench("cell", "alone", number).out.startswith(f"{cells[number]}: done")
    assert stbench("cell", "alone", cells["3"]).code == 0
    before = Path("alone", cells["1"], "record.json").stat().st_mtime_ns
    assert stbench("cell", "alone", "1").code == 0  # done already
    assert Path("alone", cells["1"], "record.json").stat().st_mtime_ns == before
    assert "4 in all, 3 finished, 1 to run" in stbench(*words, "--out", "alone").out
    stbench(*words, "--out", "together")
    for name in cells.values():
        one, other = (read_record(Path(out, name)) for out in ("alone", "together"))
        assert (one.metrics, one.predictions, one.command) == (other.metrics, other.predictions, other.command)


def test_how_a_cell_ends(stbench):
    methods = [word for name in ("Fails", "Refuses") for word in ("--method", f"{METHODS}:{name}")]
    stbench("run", *methods, *SMALL, "--out", "mine", "--prepare")
    assert (stbench("cell", "mine", "fails").code, stbench("cell", "mine", "refuses").code) == (1, 3)
    assert "unknown cell 'fail': did you mean fails" in stbench("cell", "mine", "fail").reason
    assert "expected a folder that stbench run --prepare wrote at other" in stbench("cell", "other", "1").reason
    with only_one(Path("mine")):
        assert "another process is at work in mine" in stbench("cell", "mine", "1").reason


def test_cells_of_a_sweep(stbench):
    words = ["sweep-genes", "--methods", "ridge", *TINY, "--encoder", "mean-rgb", "--genes", "4,6", "--no-controls"]
    cells = listed(stbench(*words, "--out", "mine", "--prepare"))
    assert cells == {"1": "g4/seed0/ridge", "2": "g6/seed0/ridge"}
    assert stbench("cell", "mine", "2").code == 0
    assert "2 in all, 1 finished, 1 to run" in stbench(*words, "--out", "mine").out


@pytest.fixture
def cluster(cache, monkeypatch):
    """A scheduler and two workers in processes of their own, on the loopback."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("STBENCH_CACHE", str(cache))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as found:
        yield found


def worker_of(marker):
    """The Dask worker below which a method has written its process into a file."""
    while not marker.exists() or not marker.read_text():
        time.sleep(0.05)
    above = psutil.Process(int(marker.read_text())).parents()
    cell = next(one for one in above if "cell" in one.cmdline())
    return cell.parent()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own, when a worker dies
def test_a_cell_whose_dask_worker_is_killed_runs_again(stbench, cluster, tmp_path, monkeypatch):
    marker = tmp_path / "asleep"
    monkeypatch.setenv("STBENCH_TEST_SLEEP_ONCE", str(marker))
    methods = ["--method", "ridge", "--method", f"{METHODS}:SleepsOnce"]
    words = ["run", *methods, *SMALL, "--out", "mine", "--dask", cluster.scheduler_address]
    from threading import Thread

    killer = Thread(target=lambda: worker_of(marker).send_signal(signal.SIGKILL), daemon=True)
    killer.start()
    ended = stbench(*words)
    killer.join(10)
    assert ended.code == 0, ended.err
    alone = stbench(*words[:-4], "--out", "alone")
    assert alone.code == 0
    for path in Path("alone").rglob("record.json"):
        one, other = read_record(path), read_record(Path("mine", *path.parts[1:]))
        assert (one.status, one.metrics, one.predictions) == (other.status, other.metrics, other.predictions)


def test_no_scheduler(stbench, monkeypatch):
    monkeypatch.setattr("stbench.grids.remote._ANSWER_S", 0.5)
    words = ["run", "--method", "ridge", *SMALL, "--out", "mine", "--dask", "tcp://127.0.0.1:9"]
    assert "--dask: expected a scheduler at tcp://127.0.0.1:9" in stbench(*words).err
