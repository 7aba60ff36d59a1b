"""A method that looks for the secret seed of its cohort wherever a method may look without being told where."""

import gc
import json
import os
import sys
from pathlib import Path

import numpy as np

from stbench.methods.base import Method


class Digs(Method):
    def fit(self, train, validation, context):
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)
        folder = Path(context.workdir).parent
        texts = [*os.environ.values(), *sys.argv, *sys.orig_argv, Path("/proc/self/cmdline").read_text()]
        texts += [path.read_text(errors="replace") for path in Path.cwd().rglob("*") if path.is_file()]
        texts += [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
        gc.unfreeze()  # what workers share lies out of the collector's sight, not of a method's
        texts += [thing for thing in gc.get_objects() if isinstance(thing, str)]
        texts += [repr(thing) for thing in gc.get_objects() if isinstance(thing, dict | list | tuple)]
        names = [type(thing).__name__ for thing in gc.get_objects()]
        (folder / "texts.json").write_text(json.dumps({"texts": texts, "names": sorted(set(names))}))

    def predict(self, inputs, draws, seed):
        return np.repeat(self.mean_[None, None], inputs.n_spots, axis=1).astype(np.float32)
