from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from stbench.features.graph import edge_attributes, windows

PARITY = Path(__file__).parents[1] / "parity"


def test_windows_equal_the_original():
    reference = load_file(PARITY / "graph_diffusion" / "windows.safetensors")
    kept = np.ones(len(reference["input/positions"]), dtype=bool)
    kept[[4, 6]] = False  # the original drops a spot without counts and one without embedding
    original_index = np.flatnonzero(kept)
    found = windows(reference["input/positions"][kept])
    assert len(found) == int(reference["output/n_windows"])
    for number, members in enumerate(found):
        np.testing.assert_array_equal(original_index[members], reference[f"output/window{number}/index"])


@pytest.mark.parametrize("most", [1, 7, 100, 1000])
def test_full_windows_are_cut_in_parts(most):
    xy = np.random.default_rng(0).uniform((0, 0), (4000, 1500), (500, 2)).astype(np.float32)
    whole, parts = windows(xy), windows(xy, most_spots=most)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(500))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most
    assert len(parts) == sum(-(-len(window) // most) for window in whole)
    position = {int(spot): (number, place) for number, one in enumerate(whole) for place, spot in enumerate(one)}
    for part in parts:
        found = [position[int(spot)] for spot in part]
        assert found == sorted(found)
        assert len({number for number, _ in found}) == 1


def test_parts_of_a_window_lie_apart_along_its_longer_side():
    xy = np.stack([np.random.default_rng(0).permutation(60) * 30.0, np.arange(60) % 7], axis=1).astype(np.float32)
    parts = sorted((xy[part, 0] for part in windows(xy, most_spots=25)), key=min)
    assert [len(part) for part in parts] == [20, 20, 20]
    assert all(first.max() < second.min() for first, second in pairwise(parts))


def test_parts_do_not_depend_on_the_order_of_spots():
    xy = np.random.default_rng(0).uniform(0, 2000, (300, 2)).astype(np.float32)
    order = np.random.default_rng(1).permutation(300)
    first = [xy[part].tolist() for part in windows(xy, most_spots=40)]
    assert [xy[order][part].tolist() for part in windows(xy[order], most_spots=40)] == first


@pytest.mark.parametrize("number", range(5))
def test_edge_attributes_of_windows_equal_the_original(number):
    reference = load_file(PARITY / "graph_diffusion" / "windows.safetensors")
    prefix = f"output/window{number}"
    found = edge_attributes(reference[f"{prefix}/coord"], reference[f"{prefix}/cond_x"])
    np.testing.assert_allclose(found, reference[f"{prefix}/cond_e"].reshape(found.shape), atol=1e-6)


@pytest.mark.parametrize("method", ["flag", "graph_diffusion"])
def test_edge_attributes_equal_the_original(method):
    reference = load_file(PARITY / method / "edge_attributes.safetensors")
    found = edge_attributes(reference["input/positions"], reference["input/features"], sigma_px=224)
    np.testing.assert_allclose(found, reference["output/edge_attr"], atol=1e-6)
    np.testing.assert_allclose(found, reference["output/edge_attr_collated"], atol=1e-6)


def test_edge_attributes_of_known_spots():
    xy = np.array([[0, 0], [3, 4], [0, 0]], dtype=np.float32)
    features = np.array([[1, 0], [-2, 0], [0, 0]], dtype=np.float32)
    found = edge_attributes(xy, features, sigma_px=5).numpy()
    kernel = np.exp(-0.5)
    np.testing.assert_allclose(found[..., 0], [[0, kernel, 1], [kernel, 0, kernel], [1, kernel, 0]], rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], [[0, -1, 0], [-1, 0, 0], [0, 0, 0]], atol=1e-6)
    assert found.dtype == np.float32


def test_edge_attributes_of_a_batch_equal_the_single_ones():
    generator = torch.Generator().manual_seed(0)
    xy = torch.rand(3, 7, 2, generator=generator) * 900
    features = torch.randn(3, 7, 12, generator=generator)
    together = edge_attributes(xy, features)
    for index in range(3):
        torch.testing.assert_close(together[index], edge_attributes(xy[index], features[index]))


def test_edge_attributes_follow_the_order_of_spots():
    generator = np.random.default_rng(0)
    xy, features = generator.uniform(0, 900, (9, 2)), generator.normal(size=(9, 5))
    order = generator.permutation(9)
    shuffled = edge_attributes(xy[order], features[order])
    torch.testing.assert_close(shuffled, edge_attributes(xy, features)[order][:, order])


def test_windows_are_half_open_and_skip_empty_cells():
    xy = np.array([[2048, 0], [0, 0], [2047.9, 2047.9], [0, 2048], [9000, 9000], [-1, 5]], dtype=np.float32)
    assert [members.tolist() for members in windows(xy)] == [[5], [1, 2], [3], [0], [4]]


def test_every_spot_lies_in_one_window_of_the_asked_size():
    xy = np.random.default_rng(1).uniform(0, 5000, (200, 2)).astype(np.float32)
    found = windows(xy, 700.0)
    assert sorted(np.concatenate(found)) == list(range(200))
    assert max(float(np.ptp(xy[members], axis=0).max()) for members in found) <= 700


def test_no_spots_no_windows():
    assert windows(np.empty((0, 2), dtype=np.float32)) == []
