"""Runs and grids in processes that are killed, or that may write no more than some bytes.

A fresh process that never trains itself makes a child for every try, so that a try takes a fraction of a second; the
workers of grids come from a process that all tries share. They import the main module again: let it be none, as in
``python -c "from tests.robustness.killed import main; main(killed_grid=5)"``.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from multiprocessing import forkserver, get_context
from pathlib import Path

import torch._dynamo  # noqa: F401  what an optimiser loads, before every try has to

from stbench.catalogue import DatasetCard, MethodCard
from stbench.errors import UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.record import read_record
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.features.encoders import load_encoder
from stbench.grids.cells import Cell, MethodRun, finished
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.grids.lock import only_one

from .. import unsynced  # noqa: F401
from ..evaluation.conftest import make_cohort
from .cohort import METHODS, bare_slides
from .tally import CLEAN, HANG, TRACEBACK, WRONG, Tally

PARTS = {"train": ["P1-s0", "P0-s0", "P0-s1"], "validation": ["P2-s0"], "test": ["P3-s1", "P3-s0", "P2-s1"]}
TRAINED = MethodCard(name="trained", title="Trained", entry=f"{METHODS}:Trained", kind="generative", draws=2)
SEEDS = (0, 1, 2)
PATIENCE_S = 120
PATIENT = "tests.robustness.patient_server"
DONE, ONE_LINE, FAULT = 0, 2, 1  # exit codes of a child


class Quiet:
    def started(self, cell): ...
    def progressed(self, cell, text): ...
    def said(self, cell, message): ...
    def finished(self, cell, outcome): ...


class Bench:
    """The tiny task, and what can be done with it in a folder."""

    def __init__(self, root):
        self.root = root
        split = root / "split.json"
        split.write_text(json.dumps(PARTS))
        self.cohort, self.card = make_cohort(bare_slides()), DatasetCard(name="tiny", title="Tiny", patch={"px": 8})
        self.settings = TaskSettings(genes=5, split=str(split), encoder="given")

    def run(self, folder):
        """One run in the process itself, as a worker and its parent do it."""
        task = build_task(self.cohort, self.card, self.settings)
        run_method(task, TRAINED, folder=folder / "trained", resume=True)

    def grid(self, folder):
        """A grid with two workers."""
        forkserver._forkserver.ensure_running = lambda: None  # it is no child of this process
        run = MethodRun(TRAINED, "paper", {})
        cells = [Cell(f"seed{seed}", "trained", str(seed), self.settings, run, seed) for seed in SEEDS]
        desk = Desk(self.cohort, self.card, load_encoder("given"), self.root / "cache", "cpu")
        with only_one(folder):
            waiting = [cell for cell in cells if finished(folder, cell) is None]
            outcomes = execute(waiting, desk, folder, 2, Quiet())
        for outcome in outcomes.values():
            if outcome.status != "done":
                raise UserError(outcome.reason)


def numbers(folder):
    """Everything that two runs of one command must agree in."""
    records = [read_record(path) for path in sorted(folder.glob("*/record.json"))]
    return [(one.status, one.predictions, one.metrics, one.metrics_single_draw, one.per_gene) for one in records]


def child(action):
    """Begin an action in a process of its own."""
    sys.stdout.flush()
    if (pid := os.fork()) != 0:
        return pid
    os.setpgid(0, 0)
    try:
        action()
        os._exit(DONE)
    except UserError as error:
        os._exit(ONE_LINE if str(error) and "\n" not in str(error) else FAULT)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    os._exit(FAULT)


def code_of(pid, patience=PATIENCE_S):
    """Exit code of a child, or minus the signal that ended it; None where it had to be killed for its patience."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def concluded(action, folder, expected):
    """How the same command ends when nothing hinders it."""
    code = code_of(child(lambda: action(folder)))
    if code != DONE:
        return HANG if code is None else TRACEBACK
    return CLEAN if numbers(folder) == expected and not list(folder.rglob("*.part*")) else WRONG


def dying_at_write(k, action, folder):
    """An action whose process is killed just before or after its k-th write appears under its name."""
    n, replaced = [0], Path.replace

    def step():
        n[0] += 1
        if n[0] == k:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace_(path, target):
        step()
        found = replaced(path, target)
        step()
        return found

    Path.replace = replace_
    action(folder)


def steps_of(action, folder):
    """How many steps :func:`dying_at_write` counts in an action."""
    read, write = os.pipe()

    def counting():
        n, replaced = [0], Path.replace

        def replace_(path, target):
            n[0] += 2
            return replaced(path, target)

        Path.replace = replace_
        action(folder)
        os.write(write, str(n[0]).encode())

    assert code_of(child(counting)) == DONE
    return int(os.read(read, 20))


def spread(n, points):
    """Up to ``points`` numbers from 1 to n, evenly."""
    return sorted({1 + round(place * (n - 1) / max(points - 1, 1)) for place in range(points)})


def killed_run(bench, points):
    """A run killed at every n-th of its writes."""
    tally, straight = Tally(), bench.root / "straight"
    steps = steps_of(bench.run, straight)
    expected = numbers(straight)
    for k in spread(steps, points):
        folder = bench.root / f"killed-{k}"
        code = code_of(child(lambda k=k, folder=folder: dying_at_write(k, bench.run, folder)))
        assert code == -signal.SIGKILL, code
        tally.count(concluded(bench.run, folder, expected), f"killed at step {k} of {steps}")
        shutil.rmtree(folder)
    return tally


def call_workers_early():
    """Load once what every worker of every grid imports."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        [PATIENT, "tests.unsynced", "stbench.grids.preload_torch", "tests.robustness.methods"]
    )
    forkserver.ensure_running()


def killed_grid(bench, points):
    """A grid killed at times that are spread over its duration, and begun again at once."""
    call_workers_early()
    tally, straight = Tally(), bench.root / "straight"
    assert code_of(child(lambda: bench.grid(straight))) == DONE  # the first one waits for the others to load
    shutil.rmtree(straight)
    start = time.monotonic()
    assert code_of(child(lambda: bench.grid(straight))) == DONE
    lasts, expected = time.monotonic() - start, numbers(straight)
    for k in range(points):
        folder = bench.root / f"killed-{k}"
        pid = child(lambda folder=folder: bench.grid(folder))
        time.sleep(lasts * (k + 0.5) / points)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code_of(pid)
        tally.count(concluded(bench.grid, folder, expected), f"killed after {(k + 0.5) / points:.2f} of {lasts:.1f} s")
        shutil.rmtree(folder)
    return tally


def full_disk(bench, points):
    """A run whose process may write no file above a size, as on a full disk; the same command goes on without that."""
    tally, straight = Tally(), bench.root / "straight"
    assert code_of(child(lambda: bench.run(straight))) == DONE
    expected = numbers(straight)
    sizes = [path.stat().st_size for path in straight.rglob("*") if path.is_file()]
    for most in spread(max(sizes) - 1, points):
        folder = bench.root / f"full-{most}"

        def limited(most=most, folder=folder):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            bench.run(folder)

        code = code_of(child(limited))
        if code is None:
            end = HANG
        elif code not in (DONE, ONE_LINE):
            end = TRACEBACK
        elif list(folder.rglob("*.part*")):
            end = WRONG
        else:
            end = concluded(bench.run, folder, expected)
        tally.count(end, f"files of {most} bytes at most")
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def two_processes(bench, points):
    """Grids begun at once in one folder: one works, the others say so in a line, and what is left to do is done."""
    call_workers_early()
    tally, straight = Tally(), bench.root / "straight"
    assert code_of(child(lambda: bench.grid(straight))) == DONE
    expected = numbers(straight)
    for k in range(points):
        folder = bench.root / f"two-{k}"
        folder.mkdir()
        codes = [code_of(pid) for pid in [child(lambda folder=folder: bench.grid(folder)) for _ in range(3)]]
        end = concluded(bench.grid, folder, expected)
        right = DONE in codes and set(codes) <= {DONE, ONE_LINE}
        tally.count(end if right else HANG if None in codes else TRACEBACK, f"three at once: {codes}")
        shutil.rmtree(folder)
    return tally


NAMES = {
    "killed_run": "run, killed before or after each of its writes",
    "killed_grid": "grid with two workers, killed at times spread over its duration",
    "full_disk": "run that may write files of some bytes at most (RLIMIT_FSIZE)",
    "two_processes": "grid, three commands at once in one folder",
}
WAYS = {one.__name__: one for one in (killed_run, killed_grid, full_disk, two_processes)}


def main(**points):
    """Print a row of the table for each way, then a line for each try that was not clean."""
    for way, n in points.items():
        with tempfile.TemporaryDirectory() as root:
            tally = WAYS[way](Bench(Path(root)), n)
        print("\n".join([tally.text(NAMES[way]), *tally.wrong]))
