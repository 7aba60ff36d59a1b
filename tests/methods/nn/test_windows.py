"""Slides as padded batches of windows."""

import numpy as np
import pytest
import torch

from stbench.features.graph import edge_attributes, windows
from stbench.methods.base import LabelledSlide, SlideInputs
from stbench.methods.nn.windows import TrainingWindows, WindowGeometry, collate, grid_batches

GEOMETRY = WindowGeometry(2048, 224)


def labelled(seed, n_spots=60):
    generator = np.random.default_rng(seed)
    xy = generator.uniform(0, 6000, (n_spots, 2)).astype(np.float32)
    inputs = SlideInputs(f"S{seed}", None, generator.normal(size=(n_spots, 4)).astype(np.float32), xy)
    return LabelledSlide(inputs, generator.normal(size=(n_spots, 3)).astype(np.float32))


def training(sampling="random", batch=2, seed=0):
    slides = [labelled(0), labelled(1, 90)]
    features = [slide.inputs.features for slide in slides]
    return TrainingWindows(slides, features, GEOMETRY, batch=batch, sampling=sampling, seed=seed)


def test_padding_is_zero_and_masked():
    slide = labelled(0)
    chosen = [np.arange(5), np.arange(5, 7)]
    batch = collate(slide.inputs, slide.inputs.features, chosen, GEOMETRY, slide.expression)
    assert batch.mask.tolist() == [[True] * 5, [True] * 2 + [False] * 3]
    assert not batch.features[~batch.mask].any()
    assert not batch.edges[1, 2:].any()
    assert not batch.edges[1, :, 2:].any()
    np.testing.assert_array_equal(batch.expression[batch.mask], slide.expression[np.concatenate(chosen)])
    xy, features = slide.inputs.xy[:5], slide.inputs.features[:5]
    torch.testing.assert_close(batch.edges[0], torch.as_tensor(edge_attributes(xy, features, 224)))


@pytest.mark.parametrize(("channels", "kept"), [("both", (1, 1)), ("distance", (1, 0)), ("histology", (0, 1))])
def test_edge_channels_are_switched_off_one_by_one(channels, kept):
    slide = labelled(0).inputs
    batch = collate(slide, slide.features, [np.arange(20)], WindowGeometry(2048, 2000, channels))
    assert [int(bool(batch.edges[..., k].any())) for k in (0, 1)] == list(kept)


@pytest.mark.parametrize("max_spots", [1, 25, 10_000])
def test_every_spot_is_in_one_batch_of_bounded_size(max_spots):
    slide = labelled(3, 200).inputs
    batches = list(grid_batches(slide, slide.features, GEOMETRY, max_spots))
    spots = np.concatenate([part for batch in batches for part in batch.spots])
    assert sorted(spots) == list(range(200))
    assert all(batch.mask.numel() <= max_spots or len(batch.mask) == 1 for batch in batches)
    assert all(batch.expression is None for batch in batches)


def test_a_slide_of_narrow_spots_comes_in_windows_of_bounded_size():
    slide = labelled(3, 2000).inputs
    capped = WindowGeometry(2048, 224, most_spots=64)
    batches = list(grid_batches(slide, slide.features, capped, 128))
    assert max(batch.mask.shape[1] for batch in batches) <= 64
    assert sorted(np.concatenate([part for batch in batches for part in batch.spots])) == list(range(2000))


def test_an_epoch_on_the_grid_sees_every_spot_once_in_another_order():
    found = training("grid")
    epochs = [[found[epoch * len(found) + k] for k in range(len(found))] for epoch in (0, 1)]
    for epoch in epochs:
        seen = {(batch.slide_id, spot) for batch in epoch for part in batch.spots for spot in part.tolist()}
        assert len(seen) == 150 == sum(int(batch.mask.sum()) for batch in epoch)
    assert [batch.slide_id for batch in epochs[0]] != [batch.slide_id for batch in epochs[1]]


@pytest.mark.parametrize("sampling", ["grid", "random"])
def test_a_micro_step_sees_the_same_windows_again(sampling):
    first, again, other = training(sampling)[7], training(sampling)[7], training(sampling, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first.spots, again.spots, strict=True))
    assert any(not np.array_equal(training(sampling)[k].expression, other[k].expression) for k in range(4)), (
        "the seed changes nothing"
    )


def test_random_windows_are_not_empty_and_fit_the_side():
    found = training("random", batch=3)
    for index in range(20):
        batch = found[index]
        xy = next(slide.inputs.xy for slide in found.slides if slide.inputs.slide_id == batch.slide_id)
        assert len(batch.spots) == 3
        assert all(len(part) and float(np.ptp(xy[part], axis=0).max()) <= 2048 for part in batch.spots)


def test_batches_follow_the_grid_of_the_released_code():
    slide = labelled(5, 80)
    found = TrainingWindows([slide], [slide.inputs.features], GEOMETRY, batch=1, sampling="grid", seed=0)
    seen = {tuple(found[k].spots[0].tolist()) for k in range(len(found))}
    assert seen == {tuple(part.tolist()) for part in windows(slide.inputs.xy, 2048)}


def test_random_windows_are_thinned_to_the_spots_nearest_their_centre():
    slides = [labelled(0, 300)]
    features = [slides[0].inputs.features]
    whole, thin = (
        TrainingWindows(slides, features, GEOMETRY, batch=1, sampling="random", seed=0, most_spots=most)
        for most in (None, 5)
    )
    for index in range(10):
        (every,), (kept,) = whole[index].spots, thin[index].spots
        assert len(kept) == min(5, len(every))
        assert set(kept.tolist()) <= set(every.tolist())
        assert (np.diff(kept) > 0).all()
        assert np.ptp(slides[0].inputs.xy[kept], axis=0).max() <= np.ptp(slides[0].inputs.xy[every], axis=0).max()
