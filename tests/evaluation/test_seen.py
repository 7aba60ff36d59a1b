"""What slides look like, and how far another slide is from them."""

import numpy as np
import pytest

from stbench.evaluation.given import SlideFacts
from stbench.evaluation.seen import seen_of, strange


def facts(id_, xy, array=None, um=2.0):
    return SlideFacts(id_, None, [str(i) for i in range(len(xy))], xy.astype(np.float32), array, um, None)


def lattice(hexagonal, side=10):
    row, column = (axis.ravel() for axis in np.mgrid[:side, :side])
    if not hexagonal:
        return np.stack([column, row], axis=1) * 100.0, np.stack([column, row], axis=1).astype(np.float32)
    odd = row % 2
    places = np.stack([column + odd / 2, row * 3**0.5 / 2], axis=1) * 50.0
    return places, np.stack([2 * column + odd, row], axis=1).astype(np.float32)


@pytest.mark.parametrize(("hexagonal", "pitch"), [(False, 200.0), (True, 100.0)])
@pytest.mark.parametrize("known", [False, True])
def test_pitch_and_grid(hexagonal, pitch, known):
    xy, array = lattice(hexagonal)
    found = seen_of([facts("a", xy, array if known else None)], {"a": np.zeros((len(xy), 0))})
    assert found.pitch_um == pytest.approx(pitch, rel=1e-3)
    assert (found.hexagonal, found.um_per_px, found.apart, found.mean) == (hexagonal, [2.0], None, [])


def test_spots_printed_beside_their_place_have_the_pitch_of_the_array():
    xy, array = lattice(False)
    moved = xy + np.random.default_rng(0).normal(0, 10, xy.shape)
    nothing = {"a": np.zeros((len(xy), 0))}
    assert seen_of([facts("a", moved, array)], nothing).pitch_um == pytest.approx(200, rel=0.02)
    assert seen_of([facts("a", moved)], nothing).pitch_um < 190


def test_slides_unlike_those_seen_are_named():
    rng, (xy, array) = np.random.default_rng(0), lattice(False)
    features = {
        id_: rng.normal(shift, 1, (100, 6)).astype(np.float32) for id_, shift in (("a", 0), ("b", 0.5), ("c", 1))
    }
    seen = seen_of([facts(id_, xy, array) for id_ in features], features)
    assert seen.apart == pytest.approx(0.75, abs=0.15)
    assert list(strange(seen, 2.0, features["c"])) == []
    assert list(strange(seen, None, features["b"])) == []
    assert list(strange(seen, 1.0, features["b"])) == ["1 um per pixel, where the model was fitted on 2"]
    (said,) = strange(seen, 2.4, features["c"] + 2)
    assert said.startswith("its features lie 3")
