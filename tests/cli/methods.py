"""Methods given as files."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from stbench.methods.base import Method


class Works(Method):
    card = {"kind": "discriminative"}  # noqa: RUF012

    def fit(self, train, validation, context):
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)

    def predict(self, inputs, draws, seed):
        return np.tile(self.mean_, (1, inputs.n_spots, 1))


class Fails(Works):
    def fit(self, train, validation, context):
        raise ValueError("three is no number")


class Refuses(Works):
    def refuse(self, train, test, context):
        return "there are too few slides"


class Stops(Works):
    """Ends as if it were interrupted."""

    def fit(self, train, validation, context):
        raise KeyboardInterrupt


class Dies(Works):
    """Is killed, as a process that takes too much memory is; only to be run in a worker."""

    def fit(self, train, validation, context):
        os.kill(os.getpid(), signal.SIGKILL)


class Sleeps(Works):
    """Says so in the file that the environment names, and sleeps; only fits without one."""

    def fit(self, train, validation, context):
        if "STBENCH_TEST_SLEEP" in os.environ:
            Path(os.environ["STBENCH_TEST_SLEEP"]).touch()
            time.sleep(120)
        super().fit(train, validation, context)


class Exits(Works):
    """Asks for the end of the process."""

    def fit(self, train, validation, context):
        sys.exit(3)


class SleepsOnce(Works):
    """Sleeps if it is the first to make the file that the environment names."""

    def fit(self, train, validation, context):
        marker = Path(os.environ.get("STBENCH_TEST_SLEEP_ONCE", "/"))
        if not marker.exists():
            marker.write_text(str(os.getpid()))
            time.sleep(120)
        super().fit(train, validation, context)
