"""Runs and grids that are killed, meet another process in their folder or a full disk: the same command goes on."""

import errno
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from stbench.errors import UserError
from stbench.evaluation.run import run_method
from stbench.reporting import Silent

from .cohort import card, report, settings, split, task, trained

__all__ = ["card", "report", "settings", "split", "task", "trained"]

ROOT = Path(__file__).parents[2]


def tries(**points):
    """Rows of a table that :mod:`tests.robustness.killed` prints, and what was not clean."""
    code = f"from tests.robustness.killed import main; main(**{points})"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    return [line for line in lines if line.startswith("|")], [line for line in lines if not line.startswith("|")]


def test_the_same_command_goes_on():
    """Dozens of processes and a few grids: seconds."""
    rows, wrong = tries(killed_run=5, full_disk=5, killed_grid=5)
    assert wrong == []
    assert len(rows) == 3
    assert all(row.endswith("| 5 | 5 | 0 | 0 | 0 |") for row in rows)


def test_the_server_that_tries_share_outlives_a_client_that_is_killed_while_asking():
    code = """
import os, socket
from multiprocessing import forkserver, get_context
from tests.robustness.killed import PATIENT
context, server = get_context("forkserver"), forkserver._forkserver
context.set_forkserver_preload([PATIENT])
forkserver.ensure_running()
with socket.socket(socket.AF_UNIX) as client:
    client.connect(server._forkserver_address)
process = context.Process(target=print, args=("served",))
process.start()
process.join()
print(os.waitpid(server._forkserver_pid, os.WNOHANG)[0])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.split() == ["served", "0"], ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "points",
    [{"killed_run": 40}, {"full_disk": 40}, {"killed_grid": 40}, {"two_processes": 10}],
    ids=lambda one: [*one],
)
def test_the_same_command_goes_on_at_every_point(points, report):
    (row,), wrong = tries(**points)
    report(row)
    assert wrong == []


class Watching(Silent):
    """Remembers at which update training began."""

    @contextmanager
    def track(self, description, total):
        def advance(steps=1, *, note=""):
            self.first.setdefault(description, steps)

        self.first = getattr(self, "first", {})
        yield advance


def test_a_run_whose_disk_was_full_goes_on_at_the_last_kept_state(task, trained, tmp_path, monkeypatch):
    straight = run_method(task, trained, folder=tmp_path / "straight")
    save, saved = torch.save, []

    def full_at_the_third(state, path):
        saved.append(path)
        if len(saved) == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", full_at_the_third)
    with pytest.raises(UserError, match=r"expected to write .*training\.pt, found: .*No space left on device; free"):
        run_method(task, trained, folder=tmp_path / "run")
    assert not list(tmp_path.rglob("*.part*"))
    watching = Watching()
    again = run_method(task, trained, folder=tmp_path / "run", resume=True, reporter=watching)
    assert watching.first["training"] == 4  # of 8 updates: the state is kept after every second one
    assert (again.predictions, again.metrics) == (straight.predictions, straight.metrics)
    assert not (tmp_path / "run" / "work").exists()
