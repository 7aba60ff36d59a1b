"""Fixtures every test may use."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
import typer.main

from stbench.grids import crew

from . import unsynced

crew._PRELOADED["os"] = unsynced.__name__  # workers too; they are given what this process has loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")
typer.main.get_command = cache(typer.main.get_command)  # a process has one command line; tests ask it a thousand times


def pytest_collection_finish(session):
    """What was imported stays: a collector that need not look through it again takes a hundredth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Data root with the real slides, or skip."""
    root = Path(os.environ.get("STBENCH_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
    if not (root / "her2st").is_dir():
        pytest.skip("no real slides: set STBENCH_DATA to a data root that holds her2st/")
    return root


@pytest.fixture
def write_her2st():
    """Writes a tiny section in the genuine layout, see :func:`tests.data.layouts.write_her2st`."""
    from .data import layouts

    return layouts.write_her2st
