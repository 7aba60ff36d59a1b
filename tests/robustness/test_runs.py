"""Runs and grids that are killed, meet another process in their folder or a full disk: the same command goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from .cohort import report

__all__ = ["report"]

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
