"""What a method does on a device that rounds."""

import numpy as np
import pytest
import torch

from stbench.methods.registry import find_method
from stbench.proofs.contract_bench import Bench

NETWORKS = ["flag", "joint-diffusion", "node-diffusion", "stem", "stflow", "triplex", "bleep", "histogene"]


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    return {name: Bench(find_method(name), tmp_path_factory.mktemp(name)) for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_as_precise_as_the_settings_say(benches, name, monkeypatch):
    method = benches[name].fitted
    full = method.predict(benches[name].test, 1, 0)
    monkeypatch.setattr(method, "settings", method.settings.model_copy(update={"precision": "bf16"}))
    half = method.predict(benches[name].test, 1, 0)
    assert half.dtype == np.float32
    assert np.array_equal(half, full) is (name == "bleep")  # finds the same spots of its bank
    assert np.abs(half - full).mean() < 0.05 * max(full.std(), 0.1)
    assert not torch.is_autocast_enabled("cpu")
