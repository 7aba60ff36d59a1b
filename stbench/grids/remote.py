"""Cells on their own: one by its address, for SLURM arrays and workflow engines, or many on a Dask cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stbench.errors import SettingError, UnknownNameError
from stbench.grids.cells import Cell, Listener, Outcome, heaviest_first, outcome_of, record_of
from stbench.grids.execute import execute
from stbench.grids.lock import among_others, only_one
from stbench.grids.manifest import join, write_manifest
from stbench.grids.plan import GridPlan, Work
from stbench.text import first_line, named

ENDS_WITH_PARENT = "STBENCH_ENDS_WITH_PARENT"
_OURS = "STBENCH_"  # environment variables that go along to a cluster
_LOOK_EVERY_S = 0.5
_ANSWER_S = 10
_MISUSED = 2  # exit code of what the user can mend


def find_cell(work: Work, name: str) -> Cell:
    """A cell by its folder below the grid's, or by its number from 1, as ``--prepare`` lists them.

    Raises:
        UnknownNameError: no such cell.
    """
    by_name = {cell.folder: cell for cell in work.cells}
    by_name |= {str(number): cell for number, cell in enumerate(work.cells, start=1)}
    if name not in by_name:
        raise UnknownNameError("cell", name, [cell.folder for cell in work.cells])
    return by_name[name]


def carry_out_cell(grid: GridPlan, work: Work, cell: Cell, listener: Listener) -> Outcome:
    """Carry out one cell beside others of its grid; one that is done is not done again.

    Raises:
        UserError: a command holds the folder, or another process works on the cell.
    """
    with among_others(work.out, cell.folder):
        record = record_of(work.out, cell)
        if record is not None and record.status != "failed":
            return outcome_of(record)
        return execute([cell], grid.desk_of(cell), work.out, 1, listener)[cell.folder]


def carry_out_on_dask(grid: GridPlan, work: Work, address: str, listener: Listener) -> Mapping[str, Outcome]:
    """Carry out what is left on a Dask cluster that exists already; its workers must see the same folders.

    A cell whose worker dies is given to another one, where it goes on from its last checkpoint.

    Raises:
        SettingError: dask.distributed is not installed, or no scheduler answers.
        UserError: another process is at work in the folder.
    """
    client = _client(address)
    ended = {cell.folder: outcome for cell, outcome in work.earlier.items()}
    # a lock of the whole folder would keep the cells out
    with client, only_one(work.out / ".dask"):
        with only_one(work.out):
            write_manifest(work.out, join(work.out, grid.manifest))
        cells = heaviest_first(work.waiting)
        futures = {_submitted(client, work.out, cell, grid.plan.request.secret): cell for cell in cells}
        for cell in cells:
            listener.started(cell)
        for future, cell in _as_completed(futures):
            outcome = _outcome(future, work.out, cell)
            ended[cell.folder] = outcome
            listener.finished(cell, outcome)
    return ended


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise SettingError("--dask: expected dask.distributed, found none; pip install 'stbench[dask]'") from error
    try:
        return Client(address, timeout=_ANSWER_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise SettingError(
            f"--dask: expected a scheduler at {address}, found: {first_line(error)}; start one with dask scheduler"
        ) from error


def _submitted(client: Any, out: Path, cell: Cell, secret: Path | None) -> Any:
    place, kept = str(out.absolute()), None if secret is None else str(secret.absolute())
    ours = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    return client.submit(run_as_process, place, cell.folder, ours, kept, key=f"{place}/{cell.folder}", pure=False)


def _as_completed(futures: Mapping[Any, Cell]) -> Any:
    from distributed import as_completed

    return ((future, futures[future]) for future in as_completed(list(futures)))


def end_with_parent() -> None:
    """End this process when its parent ends, where the environment asks for it: a Dask worker that is killed must not
    leave a cell behind that works on."""
    parent = os.environ.get(ENDS_WITH_PARENT)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)


def run_as_process(
    out: str, cell: str, environment: Mapping[str, str], secret: str | None = None
) -> tuple[int, str, float]:
    """``stbench cell OUT CELL`` in a process of its own: exit code, last line of what it said, seconds.

    ``secret`` is the file of the cohort's secret seed, where there is one.

    A Dask worker may not have children of its own kind, and must not keep what a method leaves in memory.
    """
    start = time.perf_counter()
    words = [sys.executable, "-m", "stbench", "cell", out, cell]
    words += [] if secret is None else ["--secret", secret]
    here = {**os.environ, **environment, ENDS_WITH_PARENT: str(os.getpid())}
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=here)
    said = [line for line in ended.stderr.splitlines() if line.strip()]
    return ended.returncode, said[-1] if said else "", time.perf_counter() - start


def _outcome(future: Any, out: Path, cell: Cell) -> Outcome:
    try:
        code, said, seconds = future.result()
    except Exception as error:  # noqa: BLE001  whatever a cluster ends a task with is the cell's
        return Outcome("failed", named(error))
    record = record_of(out, cell)
    if record is not None:
        return outcome_of(record)
    reason = said or f"its process ended with code {code}"
    return Outcome("failed", reason, round(seconds, 3), misused=code == _MISUSED)
