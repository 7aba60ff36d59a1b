import numpy as np
import pytest

from stbench.errors import DataError
from stbench.features.encoders import Handcrafted, load_encoder
from stbench.features.handcrafted import DIM, descriptor, stain_concentrations
from stbench.features.handcrafted_texture import cooccurrence, local_binary_patterns

WHITE = np.full(3, 245.0)
STAINS, LBP, GLCM, BANDS, NUCLEI = (
    slice(0, 30),
    slice(30, 70),
    slice(70, 106),
    slice(106, 136),
    slice(136, 153),
)


def test_descriptor_is_bit_identical_on_repeat(tissue):
    patch = tissue(224, 1)
    assert descriptor(patch, WHITE).tobytes() == descriptor(patch.copy(), WHITE).tobytes()


@pytest.mark.parametrize("level", [0, 128, 244, 245, 255])
def test_constant_patch_is_finite_and_without_structure(level):
    described = descriptor(np.full((224, 224, 3), level, dtype=np.uint8), WHITE)
    assert described.shape == (DIM,)
    assert np.isfinite(described).all()
    assert np.allclose(described[BANDS], 0, atol=1e-6)
    assert not described[NUCLEI].any()
    assert not described[27:30].any()


def test_synthetic_textures_are_separated(tissue):
    sparse = np.stack([descriptor(tissue(128, seed, 15), WHITE) for seed in range(6)])
    dense = np.stack([descriptor(tissue(128, seed, 90), WHITE) for seed in range(6, 12)])
    both = np.concatenate([sparse, dense])
    scaled = (both - both.mean(axis=0)) / (both.std(axis=0) + 1e-9)
    distance = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    within = max(distance[:6, :6].max(), distance[6:, 6:].max())
    assert distance[:6, 6:].min() > within


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_change_nothing_that_matters(tissue, turns):
    patch = tissue(224, 2)
    before, after = descriptor(patch, WHITE), descriptor(np.ascontiguousarray(np.rot90(patch, turns)), WHITE)
    np.testing.assert_allclose(after[GLCM], before[GLCM], rtol=1e-12)
    np.testing.assert_allclose(after[BANDS], before[BANDS], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[STAINS], before[STAINS], atol=1e-4)
    np.testing.assert_allclose(after[LBP], before[LBP], rtol=0.05)
    np.testing.assert_allclose(after[NUCLEI], before[NUCLEI], rtol=0.10, atol=1e-3)


def test_bare_glass_has_no_stain_and_dark_haematoxylin_has():
    white = np.array([240.0, 235.0, 245.0])
    glass = np.array([[[240, 235, 245]]], dtype=np.uint8)
    assert not stain_concentrations(glass, white).any()
    density = 0.5 * np.array([0.650, 0.704, 0.286]) / np.linalg.norm([0.650, 0.704, 0.286])
    dark = np.rint((white + 1) * 10**-density - 1).astype(np.uint8)[None, None]
    np.testing.assert_allclose(stain_concentrations(dark, white)[0, 0], [0.5, 0, 0], atol=0.01)


def test_local_binary_patterns_of_known_pictures():
    flat = local_binary_patterns(np.full((9, 9), 7, dtype=np.uint8))
    np.testing.assert_array_equal(flat, np.eye(10)[8])
    peak = np.zeros((3, 3), dtype=np.uint8)
    peak[1, 1] = 200
    np.testing.assert_array_equal(local_binary_patterns(peak), np.eye(10)[0])
    edge = np.tile(np.array([0, 0, 200], dtype=np.uint8), (3, 1))  # right column is brighter
    assert local_binary_patterns(edge.copy()).argmax() == 8  # flat left part: all neighbours at least as bright


def test_local_binary_patterns_agree_with_float_interpolation():
    image = np.random.default_rng(0).integers(0, 256, size=(40, 40)).astype(np.uint8)
    values = image.astype(np.float64)
    directions = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    counts = np.zeros(10)
    for y in range(1, 39):
        for x in range(1, 39):
            ring = [_on_circle(values, y, x, dy, dx) >= values[y, x] - 1e-9 for dy, dx in directions]
            changes = sum(ring[i] != ring[i - 1] for i in range(8))
            counts[sum(ring) if changes <= 2 else 9] += 1
    np.testing.assert_allclose(local_binary_patterns(image), counts / counts.sum(), atol=1e-12)


def _on_circle(values, y, x, dy, dx):
    """Bilinear value at distance 1 from (y, x) in the direction (dy, dx)."""
    if dy == 0 or dx == 0:
        return values[y + dy, x + dx]
    part = np.sqrt(0.5)
    sides = (values[y, x + dx] + values[y + dy, x]) * part * (1 - part)
    return values[y, x] * (1 - part) ** 2 + sides + values[y + dy, x + dx] * part**2


def test_cooccurrence_of_stripes():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    contrast, dissimilarity, homogeneity, _, correlation, _ = cooccurrence(stripes)[:6]
    pairs = np.array([64 * 63, 63 * 64, 63 * 63, 63 * 63])  # across, down, both diagonals
    unlike = (pairs[0] + pairs[2] + pairs[3]) / pairs.sum()
    np.testing.assert_allclose(contrast, unlike * 15**2)
    np.testing.assert_allclose(dissimilarity, unlike * 15)
    np.testing.assert_allclose(homogeneity, 1 - unlike + unlike / (1 + 15**2))
    np.testing.assert_allclose(correlation, 1 - 2 * unlike, atol=1e-3)


def test_nuclei_density_follows_the_number_of_nuclei(tissue):
    few, many = (descriptor(tissue(224, 3, count), WHITE)[136] * 224**2 / 1e4 for count in (20, 80))
    assert 15 <= few <= 22
    assert 55 <= many <= 82


def test_scale_undoes_a_change_of_pixel_size(tissue):
    import cv2

    fine = tissue(448, 4, 60)
    coarse = cv2.resize(fine, (224, 224), interpolation=cv2.INTER_AREA)
    bands_fine, bands_coarse = descriptor(fine, WHITE, 1.0)[BANDS], descriptor(coarse, WHITE, 0.5)[BANDS]
    np.testing.assert_allclose(bands_fine[4:10], bands_coarse[4:10], rtol=0.1)


@pytest.mark.parametrize("shape", [(63, 63, 3), (64, 80, 3), (64, 64, 4)])
def test_unsuitable_patch_is_refused(shape):
    with pytest.raises(DataError, match=r"expected .* found \(6\d, "):
        descriptor(np.zeros(shape, dtype=np.uint8), WHITE)


def test_pool_size_does_not_change_the_features(tissue):
    patches = np.stack([tissue(96, seed) for seed in range(5)])
    one, three = (Handcrafted(workers=n).encode(patches, white_point=WHITE, um_per_px=0.5) for n in (1, 3))
    assert one.tobytes() == three.tobytes()


def test_context_encoder_appends_the_wider_view(tissue):
    wide = np.stack([tissue(192, 5)])
    encoder = load_encoder("handcrafted-v1-ctx")
    features = encoder.encode(wide, white_point=WHITE, um_per_px=None)
    assert features.shape == (1, encoder.dim) == (1, 306)
    inner = load_encoder("handcrafted-v1").encode(wide[:, 48:144, 48:144], white_point=WHITE, um_per_px=None)
    np.testing.assert_array_equal(features[:, :153], inner)
