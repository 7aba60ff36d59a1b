"""Workers: processes that fit and predict. One that dies takes its cell with it, and nothing else.

A worker is never given the truth of test slides. It serves one fold, because one fold's training counts are another's
test truth; once it has served a method that sees the truth, it serves no other kind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stbench.evaluation.worker import Job, Report, failure, work
from stbench.grids.gpus import VISIBLE, own_gpu
from stbench.grids.handing import hand_over, take_over
from stbench.grids.progress import CellReporter
from stbench.process import settle
from stbench.text import named, one_line

_THREADS = "OMP_NUM_THREADS"
_PATIENCE_S = 10.0
_FORKSERVER = "forkserver"
_TORCH = "torch"
_PRELOADED = {  # what is loaded here to what workers load beside what all of them need
    _TORCH: "stbench.grids.preload_torch",
    "stbench.methods.controls.linear_gaussian.field": "stbench.grids.preload_covariance",
}


@dataclass
class Worker:
    """One process.

    Args:
        number: of the process among those of the crew.
        process: the process.
        pipe: to it and back.
        log: file that gets what is printed in it.
        fold: what it may serve.
        gpu: the one it sees, None for all there are.
        initiated: whether it has seen the truth of test slides.
        began: when it took its job.
        busy: whether it has one.
    """

    number: int
    process: Any
    pipe: Connection
    log: Path
    fold: str
    gpu: str | None = None
    initiated: bool = False
    began: float = 0.0
    busy: bool = False

    def take(self, job: Job) -> None:
        """Begin a job."""
        self.busy, self.began = True, time.perf_counter()
        self.initiated |= job.given.secrets is not None
        with suppress(OSError):  # it has died: reading from it says so
            hand_over(self.pipe, job)

    def may_take(self, fold: str, job: Job) -> bool:
        """Whether what it has seen so far is no secret of the job."""
        return not self.busy and self.fold == fold and (not self.initiated or job.given.secrets is not None)

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

    def death(self) -> str:
        """How it died, in words."""
        self.process.join(_PATIENCE_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self.stop()
        how = f"was ended by {_signal_name(-code)}" if (code or 0) < 0 else f"ended with code {code}"
        hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        log = f"; see {self.log.name}" if self.log.is_file() else ""
        return f"its worker process {how}{hint}{log}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


@dataclass
class Crew:
    """A number of workers that share the cores.

    Args:
        out: folder of the grid, for what they print.
        size: how many at once.
    """

    out: Path
    size: int
    workers: list[Worker] = field(default_factory=list)
    _number: int = 0

    @property
    def has_room(self) -> bool:
        """Whether a job can begin now."""
        return sum(worker.busy for worker in self.workers) < self.size

    def hand(self, fold: str, job: Job) -> Worker:
        """Give a job to a worker that may take it, a new one where there is none."""
        worker = next((one for one in self.workers if one.may_take(fold, job)), None)
        if worker is None:
            self._make_room()
            worker = self._start(fold)
        worker.take(job)
        return worker

    def news(self) -> list[tuple[Worker, str, Any]]:
        """Wait until busy workers say something: ``progressed``, ``said``, ``finished`` or, with a reason, ``died``."""
        busy = [worker for worker in self.workers if worker.busy]
        ready = connection.wait([worker.pipe for worker in busy])
        return [(worker, *self._heard(worker)) for worker in busy if worker.pipe in ready]

    def _heard(self, worker: Worker) -> tuple[str, Any]:
        try:
            kind, said = worker.pipe.recv()
        except Exception:  # noqa: BLE001  it has died, or foreign code in it wrote into the pipe
            self.workers.remove(worker)
            return "died", worker.death()
        worker.busy = kind not in ("finished",)
        return kind, said

    def _make_room(self) -> None:
        idle = [worker for worker in self.workers if not worker.busy]
        for worker in idle[: len(self.workers) + 1 - self.size]:
            self.workers.remove(worker)
            worker.dismiss()

    def _start(self, fold: str) -> Worker:
        self._number += 1
        context = _context()
        ours, theirs = context.Pipe()
        log = self.out / f"worker-{self._number}.log"
        gpu = own_gpu(worker.gpu for worker in self.workers)
        environment = {**os.environ, **({} if gpu is None else {VISIBLE: gpu})}
        here = _Here(environment, str(Path.cwd()), share_of_cores(self.size))
        process = context.Process(target=_serve, args=(theirs, log, here), name=f"stbench worker {self._number}")
        with _inherited(self.size):
            process.start()
        theirs.close()  # or its death would never be seen
        self.workers.append(Worker(self._number, process, ours, log, fold, gpu))
        return self.workers[-1]

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.stop() if worker.busy else worker.dismiss()
        self.workers.clear()


def _context() -> Any:
    """New processes come from one that has loaded what methods need and nothing else, where the system can do that.

    Torch and scikit-learn take a second or more: they are among that where a class of the methods asked for, loaded
    here, says so.
    """
    if _FORKSERVER not in get_all_start_methods():
        return get_context("spawn")
    context = get_context(_FORKSERVER)
    wanted = [module for known, module in _PRELOADED.items() if known in sys.modules]
    context.set_forkserver_preload(["stbench.grids.preload", *wanted])
    return context


def call_early() -> None:
    """Let the process that workers come from load what they need, while this one reads slides."""
    if _FORKSERVER in get_all_start_methods():
        _context()
        from multiprocessing import forkserver

        with _inherited(1):
            forkserver.ensure_running()


def share_of_cores(jobs: int) -> int:
    """Threads of each worker: its share of the cores, or fewer where ``OMP_NUM_THREADS`` says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // jobs)
    said = os.environ.get(_THREADS, "")
    return min(share, int(said)) if said.isdecimal() and int(said) else share


@contextmanager
def _inherited(jobs: int) -> Iterator[None]:
    """What a starting worker inherits: its number of threads, deafness to Ctrl-C, which is for its parent, and no words
    of the command line, which say where a secret seed lies."""
    before, words = os.environ.get(_THREADS), sys.argv
    sys.argv = words[:1]
    os.environ[_THREADS] = str(share_of_cores(jobs))
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        yield
    finally:
        sys.argv = words
        if is_main:
            signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


@dataclass(frozen=True)
class _Here:
    """Where the parent stands when it starts a worker: environment, folder, threads for it."""

    environment: dict[str, str]
    folder: str
    threads: int

    def settle(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        os.environ[_THREADS] = str(self.threads)
        os.chdir(self.folder)
        settle()
        from threadpoolctl import threadpool_limits

        torch = sys.modules.get(_TORCH)  # loaded later, it takes the number from the environment
        if torch is not None and torch.get_num_threads() != self.threads:  # to say it again slows a step by a seventh
            torch.set_num_threads(self.threads)
        threadpool_limits(self.threads)


def _serve(pipe: Connection, log: Path, here: _Here) -> None:
    """The life of a worker: a job, its report, the next job, until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    here.settle()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _write_into(log)
    with suppress(EOFError, OSError):
        while (job := take_over(pipe)) is not None:
            reporter = CellReporter(partial(_tell, pipe, "progressed"), partial(_tell, pipe, "said"))
            report = _done(job, reporter)
            job = None  # its arrays need not outlive it
            pipe.send(("finished", report))


def _done(job: Job, reporter: CellReporter) -> Report:
    """The report of a job; a method that asks for the end of the process, in whatever way, ends its own run."""
    try:
        report = work(job, reporter)
    except BaseException as error:  # noqa: BLE001  Ctrl-C never comes here: it is the parent's
        report = failure(job, named(error))
    if job.device.startswith("cuda"):
        import gc

        import torch

        gc.collect()
        torch.cuda.empty_cache()  # for the other workers on the device
    return report


def _tell(pipe: Connection, kind: str, text: str) -> None:
    with suppress(OSError):  # the parent is gone, and so is this process in a moment; no fault of the method
        pipe.send((kind, one_line(str(text))))


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
