"""Cells in worker processes. A worker that dies takes its cell with it, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from stbench.grids.bench import Bench
from stbench.grids.grid import Cell, Listener, Outcome, Source
from stbench.grids.progress import CellReporter
from stbench.process import settle

_THREADS = "OMP_NUM_THREADS"
_PATIENCE_S = 10.0


def run_pool(cells: Sequence[Cell], source: Source, out: Path, jobs: int, listener: Listener) -> None:
    """Carry out cells in ``jobs`` worker processes that share the cores.

    Args:
        cells: in the order in which they begin.
        source: the cohort; every worker opens it for itself.
        out: folder of the grid.
        jobs: number of workers.
        listener: is told what happens.
    """
    waiting = deque(cells)
    workers: list[_Worker] = []
    numbers = iter(range(1, len(cells) + jobs + 1))
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_start(next(numbers), source, out, jobs))
                workers[-1].take(waiting.popleft(), listener)
            _listen(workers, waiting, listener)
    finally:
        for worker in workers:
            worker.stop()


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection
    log: Path
    cell: Cell | None = None
    began: float = 0.0

    def take(self, cell: Cell, listener: Listener) -> None:
        self.cell, self.began = cell, time.perf_counter()
        listener.started(cell)
        with suppress(OSError):  # it has died: reading from it says so
            self.pipe.send(cell)

    def stop(self) -> None:
        """End at once, whatever it is doing: finished cells are on disk."""
        self.process.terminate()
        self.process.join(_PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        if self.log.is_file() and not self.log.stat().st_size:
            self.log.unlink()

    def dismiss(self) -> None:
        """End when idle."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(_PATIENCE_S)
        self.stop()


def _listen(workers: list[_Worker], waiting: deque[Cell], listener: Listener) -> None:
    """Wait for news from any worker; the idle get another cell or leave."""
    ready = connection.wait([worker.pipe for worker in workers])
    for worker in [worker for worker in workers if worker.pipe in ready]:
        cell = worker.cell
        assert cell is not None, "a worker without a cell has nothing to say"
        try:
            kind, news = worker.pipe.recv()
        except (EOFError, OSError):
            workers.remove(worker)
            listener.finished(cell, _death(worker))
            continue
        if kind == "progressed":
            listener.progressed(cell, news)
        elif kind == "said":
            listener.said(cell, news)
        else:
            listener.finished(cell, news)
            worker.cell = None
            if waiting:
                worker.take(waiting.popleft(), listener)
            else:
                workers.remove(worker)
                worker.dismiss()


def _death(worker: _Worker) -> Outcome:
    worker.process.join(_PATIENCE_S)
    code = worker.process.exitcode
    worker.stop()
    how = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
    hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    log = f"; see {worker.log.name}" if worker.log.is_file() else ""
    return Outcome("failed", f"its worker process {how}{hint}{log}", round(time.perf_counter() - worker.began, 3))


def _start(number: int, source: Source, out: Path, jobs: int) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    log = out / f"worker-{number}.log"
    process = context.Process(target=_serve, args=(theirs, source, out, log), name=f"stbench worker {number}")
    with _inherited(jobs):
        process.start()
    theirs.close()  # or its death would never be seen
    return _Worker(number, process, ours, log)


def share_of_cores(jobs: int) -> int:
    """Threads of each worker: its share of the cores, or fewer where ``OMP_NUM_THREADS`` says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // jobs)
    said = os.environ.get(_THREADS, "")
    return min(share, int(said)) if said.isdecimal() and int(said) else share


@contextmanager
def _inherited(jobs: int) -> Iterator[None]:
    """What a starting worker inherits: its number of threads, and deafness to Ctrl-C, which is for its parent."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = str(share_of_cores(jobs))
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


def _serve(pipe: Connection, source: Source, out: Path, log: Path) -> None:
    """The life of a worker: a cell, its outcome, the next cell, until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _write_into(log)
    bench = Bench(source, out)
    with suppress(EOFError, OSError):
        while (cell := pipe.recv()) is not None:
            reporter = CellReporter(partial(_tell, pipe, "progressed"), partial(_tell, pipe, "said"))
            pipe.send(("finished", bench.run(cell, reporter)))


def _tell(pipe: Connection, kind: str, text: str) -> None:
    with suppress(OSError):  # the parent is gone, and so is this process in a moment; no fault of the method
        pipe.send((kind, text))


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_into(log: Path) -> None:
    """Send everything printed to a file: it would tear the parent's live table."""
    with suppress(OSError):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
