"""Methods that try, each in its own way, to take the harness with them; only to be run in a worker."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from stbench.errors import SettingError
from stbench.methods.base import Method


class MuteError(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class OwnError(BaseException):
    pass


class Plain(Method):
    """Training mean."""

    def fit(self, train, validation, context):
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)

    def predict(self, inputs, draws, seed):
        return np.tile(self.mean_, (1, inputs.n_spots, 1))


class Exits(Plain):
    def fit(self, train, validation, context):
        sys.exit("enough")


class Silent(Plain):
    def predict(self, inputs, draws, seed):
        raise RuntimeError


class Mute(Plain):
    def fit(self, train, validation, context):
        raise MuteError


class Odd(Plain):
    def fit(self, train, validation, context):
        context.reporter.info("\ud800 half\x1b[2J")
        raise ValueError("\x00\x1b[31m\ud800\nsecond line")


class Own(Plain):
    def fit(self, train, validation, context):
        raise OwnError("mine")


class Interrupts(Plain):
    def predict(self, inputs, draws, seed):
        raise KeyboardInterrupt


class Lacks(Plain):
    def fit(self, train, validation, context):
        import no_such_package_of_anybody  # noqa: F401


class Complains(Plain):
    """Blames the user without a word."""

    def fit(self, train, validation, context):
        raise SettingError("")


class Refuses(Plain):
    def refuse(self, train, test, context):
        return "no\x07\nway"


class Leaves(Plain):
    def fit(self, train, validation, context):
        os._exit(0)


class Signalled(Plain):
    """Ended by a signal without a name."""

    def fit(self, train, validation, context):
        os.kill(os.getpid(), signal.SIGRTMIN + 2)


class Deletes(Plain):
    """Removes the folder of its run."""

    def fit(self, train, validation, context):
        shutil.rmtree(Path(context.workdir).parent)
        raise ValueError("gone")


class Sees(Plain):
    """The GPUs that its process is shown."""

    def fit(self, train, validation, context):
        raise RuntimeError(os.environ.get("CUDA_VISIBLE_DEVICES"))
