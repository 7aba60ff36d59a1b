"""Draws of every registered sampler: seeded by draw and slide, whatever else is drawn and in whatever batch."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from stbench.catalogue import method_cards
from stbench.proofs.contract_bench import SEED, Bench, copied

BATCHES = {
    "flag": {"stbench.methods.flag.method": {"values_at_once": lambda _: 1}},
    "joint-diffusion": {"stbench.methods.graph_diffusion.method": {"_SPOTS_PER_BATCH": 1}},
    "node-diffusion": {"stbench.methods.graph_diffusion.method": {"_SPOTS_PER_BATCH": 1}},
    "stem": {"stbench.methods.stem.method": {"_BATCH_VALUES": {"cpu": 1, "cuda": 1}}},
    "stflow": {"stbench.methods.stflow.network": {"_CHUNK": 1}, "stbench.methods.stflow.method": {"_KEPT_EDGES": 0}},
}
"""Sampler to what bounds its batches, set to the smallest batch there is. A new sampler belongs here."""

SAMPLERS = [name for name, card in method_cards().items() if card.kind == "generative"]


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    found = {}

    def bench(name):
        if name not in found:
            found[name] = Bench(method_cards()[name], tmp_path_factory.mktemp(name))
        return found[name]

    return bench


def test_every_sampler_is_listed():
    assert set(SAMPLERS) <= set(BATCHES)


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_depend_on_their_number_alone(name, benches):
    bench = benches(name)
    many, few = (bench.fitted.predict(copied(bench.test), draws, SEED) for draws in (5, 2))
    np.testing.assert_array_equal(many[:2], few)
    assert all((many[i] != many[j]).any() for i in range(5) for j in range(i))


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_depend_on_the_slide(name, benches):
    bench = benches(name)
    here, there = (replace(copied(bench.test), slide_id=slide_id) for slide_id in (bench.test.slide_id, "P9-z"))
    assert (bench.fitted.predict(here, 1, SEED) != bench.fitted.predict(there, 1, SEED)).any()


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_do_not_depend_on_the_size_of_batches(name, benches, monkeypatch):
    bench = benches(name)
    wide = replace(copied(bench.test), xy=8 * bench.test.xy)  # several windows
    usual = bench.predict(bench.fitted, wide)
    for module, bounds in BATCHES[name].items():
        for bound, value in bounds.items():
            monkeypatch.setattr(importlib.import_module(module), bound, value)
    small = bench.predict(bench.fitted, wide)
    # sums over padded batches round differently; other noise would differ by the spread of the draws
    np.testing.assert_allclose(small, usual, atol=1e-3 * float(usual.std(axis=0).mean()) + 1e-5)
