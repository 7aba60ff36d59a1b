"""What the tests of caches and exports share: commands here and in processes of their own, full disks, damage."""

import io
import json
import multiprocessing
import os
import resource
import signal
import stat
import sys
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

from stbench.cli.main import main

from ..cli.conftest import TINY, Ended

__all__ = ["TINY", "Ended"]

NOBODY = 65534
_PRELOADED = ["stbench.grids.preload", "stbench.data.export", "stbench.data.simulator"]
_PRELOADED += ["stbench.evaluation.encode", "stbench.evaluation.predict", __name__]


class Listener:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)

    @contextmanager
    def track(self, description, total):
        yield lambda steps=1, note="": None


def ran(words, folder, cache):
    """How a command in this process ended."""
    told = io.StringIO(), io.StringIO()
    here = mock.patch.dict(os.environ, STBENCH_CACHE=str(cache))
    with chdir(folder), here, redirect_stdout(told[0]), redirect_stderr(told[1]):
        code = main([str(word) for word in words])
    return Ended(code, told[0].getvalue(), told[1].getvalue())


@contextmanager
def room(size):
    """No file grows beyond so many bytes, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder):
    """Nobody may write below a folder, not even root, who is somebody else meanwhile."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with as_nobody():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def as_nobody():
    """Root goes on as an account that owns nothing; others as they are."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def files_of(folder, suffix=""):
    """Every file below a folder but locks, and its bytes."""
    found = (path for path in sorted(folder.rglob(f"*{suffix}")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def damages(content, places):
    """A file zeroed, longer, and cut and flipped at parts of its length."""
    size = len(content)
    for place in sorted({round(part * (size - 1)) for part in places}):
        yield f"cut to {place}", content[:place]
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        yield f"flipped at {place}", bytes(flipped)
    yield "zeroed", bytes(size)
    half = size // 2
    yield "zeroed from the middle", content[:half] + bytes(size - half)
    yield "longer", content + b"\0"


class Process:
    """A command in a process of its own; `began` when everything is imported and it is about to work."""

    def __init__(self, words, folder, cache):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._pipe, theirs = context.Pipe()
        said = [str(word) for word in words]
        self._process = context.Process(target=_serve, args=(said, str(folder), str(cache), theirs))
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"
        self.began = time.perf_counter()

    def killed(self, after_s, number=signal.SIGKILL):
        """How it ended when it got a signal some time after it began."""
        self._process.join(max(0.0, self.began + after_s - time.perf_counter()))
        if self._process.is_alive():
            os.kill(self._process.pid, number)
        return self.ended()

    def ended(self):
        """How it ended, code and words; a signal that ended it is a negative code."""
        try:
            told = self._pipe.recv()
        except EOFError:
            told = ("", "")
        self._process.join()
        return Ended(self._process.exitcode, *told)


def _serve(words, folder, cache, pipe):
    import anndata  # noqa: F401  no part of what is to be killed
    import safetensors.numpy  # noqa: F401

    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe.send("ready")
    ended = ran(words, folder, cache)
    pipe.send((ended.out, ended.err))
    sys.exit(ended.code)


def duration(words, folder, cache):
    """Seconds of a command that nobody kills."""
    process = Process(words, folder, cache)
    ended = process.ended()
    assert ended.code == 0, ended
    return time.perf_counter() - process.began


def facts(path):
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))
