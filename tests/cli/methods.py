"""Methods given as files."""

import os

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
    """Is interrupted, if the environment says so."""

    def fit(self, train, validation, context):
        if "STBENCH_TEST_STOP" in os.environ:
            raise KeyboardInterrupt
        super().fit(train, validation, context)
