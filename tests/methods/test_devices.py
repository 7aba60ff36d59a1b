"""What a method does on a device that rounds or runs out of memory."""

import numpy as np
import pytest
import torch

from stbench.methods.registry import find_method
from stbench.proofs.contract_bench import Bench

NETWORKS = ["flag", "joint-diffusion", "node-diffusion", "stem", "stflow", "triplex", "bleep", "histogene"]
BY_ROWS = {  # what a network is asked for, of windows or spots that do not depend on each other
    "flag": "forward",
    "joint-diffusion": "forward",
    "node-diffusion": "forward",
    "stem": "denoise",
    "triplex": "forward",
}


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


@pytest.mark.parametrize("name", BY_ROWS)
def test_where_memory_runs_out_half_is_predicted_at_a_time(benches, name, monkeypatch):
    method, inputs = benches[name].fitted, benches[name].test
    if "window_px" in type(method.settings).model_fields:
        monkeypatch.setattr(method, "settings", method.settings.model_copy(update={"window_px": 500}))
    whole, mean = method.predict(inputs, 2, 0), method.predict_mean(inputs, 0)
    plain, sizes = getattr(method.module_, BY_ROWS[name]), []

    def narrow(x, *given, **keywords):
        sizes.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(x, *given, **keywords)

    monkeypatch.setattr(method.module_, BY_ROWS[name], narrow)
    np.testing.assert_allclose(method.predict(inputs, 2, 0), whole, rtol=1e-4, atol=1e-4)
    if mean is not None:
        np.testing.assert_allclose(method.predict_mean(inputs, 0), mean, rtol=1e-4, atol=1e-4)
    assert max(sizes) > 1


@pytest.mark.parametrize("name", ["flag", "joint-diffusion", "node-diffusion"])
def test_draws_that_go_through_the_network_together_are_those_of_one_after_another(benches, name, monkeypatch):
    method, inputs = benches[name].fitted, benches[name].test
    monkeypatch.setattr(method, "settings", method.settings.model_copy(update={"window_px": 500}))
    alone = method.predict(inputs, 3, 0)
    monkeypatch.setattr(method, "_draws_at_once", lambda _: 2)
    np.testing.assert_allclose(method.predict(inputs, 3, 0), alone, rtol=1e-4, atol=1e-4)


def test_a_single_row_without_memory_is_an_error(benches, monkeypatch):
    method = benches["stem"].fitted
    monkeypatch.setattr(method.module_, "denoise", full)
    with pytest.raises(torch.OutOfMemoryError):
        method.predict(benches["stem"].test, 1, 0)


def full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory.")
