"""The parts of TRIPLEX: windows and tiles, encoders, loss, batches, and the numbers of the released code."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from stbench.errors import DataError
from stbench.methods.registry import find_method
from stbench.methods.triplex import blocks
from stbench.methods.triplex.blocks import SlideAttention
from stbench.methods.triplex.losses import loss_terms
from stbench.methods.triplex.network import GlobalEncoder, Heads, PositionEncoding, TriplexNetwork
from stbench.methods.triplex.objective import SpotBatches
from stbench.methods.triplex.positions import array_cells, grid_windows, smoothed, tile_mask
from stbench.methods.triplex.settings import TriplexSettings
from stbench.methods.triplex.views import split_tiles
from stbench.proofs.parity import compare_file

CARD = find_method("triplex")
TINY = {"emb_dim": 16, "global_depth": 2, "neighbour_depth": 1, "global_heads": 4, "neighbour_heads": 4}
FEATURES = {"input": "features", "neighbours": "grid"}
CONSTRUCTOR = {"fusion_depth": 2, "global_depth": 2, "neighbour_depth": 2, "fusion_heads": 8}
CONSTRUCTOR |= {"global_heads": 8, "neighbour_heads": 8, "fusion_mlp": 2, "global_mlp": 2, "neighbour_mlp": 2}


def square(columns, rows):
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(np.float32)


def visium(columns, rows):
    """Array positions and pixels of Visium's hexagonal array at 0.5 um per pixel."""
    row, place = np.divmod(np.arange(columns * rows), columns)
    array = np.stack([2 * place + row % 2, row], axis=1).astype(np.float32)
    return array, array * np.float32([100, 100 * 3**0.5])


# --- windows, tiles, cells


def test_a_window_of_a_square_array_holds_the_spots_at_its_offsets():
    array = square(7, 6) + 11
    windows = grid_windows(array, 100 * array)
    (middle,) = np.flatnonzero((array == [14, 13]).all(axis=1))
    expected = [[11 + 1 + dx, 11 + dy] for dy in range(5) for dx in range(5)]
    np.testing.assert_array_equal(array[windows[middle]], expected)
    corner = windows[0].reshape(5, 5)
    assert (corner[:2] == -1).all()
    assert (corner[:, :2] == -1).all()
    np.testing.assert_array_equal(corner[2:, 2:], [[0, 1, 2], [7, 8, 9], [14, 15, 16]])


def test_holes_and_lonely_spots_have_no_neighbours():
    array = np.float32([[1, 1], [2, 1], [40, 30], [2, 4]])
    windows = grid_windows(array, array * 100)
    assert (windows >= 0).sum(axis=1).tolist() == [2, 2, 1, 1]
    assert windows[:, 12].tolist() == [0, 1, 2, 3]
    assert grid_windows(array[:1], array[:1]).tolist() == [[-1] * 12 + [0] + [-1] * 12]


@pytest.mark.parametrize("degrees", [0, 3, 90])
def test_a_window_of_a_hexagonal_array_is_the_spots_nearest_to_its_tiles(degrees):
    array, xy = visium(40, 40)
    turn = np.radians(degrees)
    xy = (xy @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])).astype(np.float32)
    windows = grid_windows(array, xy)
    inner = windows[20 * 40 + 20]
    assert len(set(inner)) == 25
    assert (inner >= 0).all()
    offsets = (array[inner] - array[inner[12]]) * [50, 50 * 3**0.5]  # micrometres on the array
    tiles = 112.0 * np.array([[dx, dy] for dy in range(-2, 3) for dx in range(-2, 3)])
    gaps = np.linalg.norm(offsets - tiles, axis=1)
    assert gaps.max() <= 60
    assert gaps.mean() == pytest.approx(40, abs=3)  # fact sheet, section 9
    nearest = np.linalg.norm((array - array[inner[12]])[:, None] * [50, 50 * 3**0.5] - tiles, axis=2).min(axis=0)
    np.testing.assert_allclose(gaps, nearest, atol=1)


def test_windows_of_a_whole_hexagonal_array_are_as_measured():
    windows = grid_windows(*visium(64, 78))
    assert (windows >= 0).sum(axis=1).mean() == pytest.approx(24.1, abs=0.05)  # fact sheet, section 9
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in windows)


@pytest.mark.real
def test_windows_of_her2st_are_as_measured(real_data):
    counts = []
    for file in sorted((real_data / "her2st/data/ST-spotfiles").glob("*.tsv")):
        array, xy = np.split(np.loadtxt(file, skiprows=1, usecols=(0, 1, 4, 5), dtype=np.float32), 2, axis=1)
        counts.append((grid_windows(array, xy) >= 0).sum(axis=1))
    valid = np.concatenate(counts)
    assert valid.mean() == pytest.approx(21.7, abs=0.1)  # fact sheet, section 9
    assert (valid == 25).mean() == pytest.approx(0.44, abs=0.01)
    assert valid.min() == 3


def test_the_middle_of_a_spot_is_itself_on_a_slide_of_doubled_positions():
    array = np.float32([[3, 3], [3, 3], [4, 3]])
    assert grid_windows(array, array)[:, 12].tolist() == [0, 1, 2]


def test_tiles_are_masked_where_they_reach_beyond_the_picture():
    size, side = (3000, 2000), 200.0
    xy = np.float32([[1500, 1000], [500, 1000], [499, 1000], [299, 1000], [1500, 0], [2800, 1999]])
    mask = tile_mask(xy, side, size).reshape(-1, 5, 5)
    assert mask[0].all()
    assert mask[1].all()  # 2.5 tiles fit exactly
    assert mask[2].all(axis=0).tolist() == [False, True, True, True, True]
    assert mask[3].all(axis=0).tolist() == [False, False, True, True, True]
    assert mask[4].all(axis=1).tolist() == [False, False, True, True, True]
    assert mask[5].sum() == 9
    assert mask[:, 2, 2].all()


def test_a_cut_falls_into_tiles_row_by_row():
    cut = np.zeros((1, 15, 15, 3), dtype=np.uint8)
    for row in range(5):
        for column in range(5):
            cut[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 5 * row + column
    tiles = split_tiles(cut, 3)
    assert tiles.shape == (1, 25, 3, 3, 3)
    np.testing.assert_array_equal(tiles[0], np.broadcast_to(np.arange(25)[:, None, None, None], (25, 3, 3, 3)))


def test_smoothing_averages_a_spot_and_those_around_it():
    array = square(3, 3)
    y = np.arange(9, dtype=np.float32)[:, None]
    found = smoothed(y, array)[:, 0]
    assert found[4] == 4
    assert found[0] == np.mean([0, 1, 3, 4])
    np.testing.assert_array_equal(smoothed(y, array * 3), y)


# --- encoders


def test_the_position_encoding_is_a_convolution_of_cell_means():
    encoding = PositionEncoding(3, 3, residual=False)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[0, 0], [1, 0], [1, 0], [6, 2]])  # column, row; the last is alone
    with torch.no_grad():
        found = encoding(x, cells)
        weight, bias = encoding.conv.weight[:, 0], encoding.conv.bias
        pair = (x[1] + x[2]) / 2
        torch.testing.assert_close(found[0], weight[:, 1, 1] * x[0] + weight[:, 1, 2] * pair + bias)
        torch.testing.assert_close(found[1], weight[:, 1, 1] * pair + weight[:, 1, 0] * x[0] + bias)
        torch.testing.assert_close(found[3], weight[:, 1, 1] * x[3] + bias)
        torch.testing.assert_close(found[1], found[2])
        encoding.residual = True
        torch.testing.assert_close(encoding(x, cells), x + found)


def test_slide_attention_is_the_plain_formula_with_channels_interleaved():
    attention = SlideAttention(8, 2, 0.0, 0.0).eval()
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        q, k, v = (attention.qkv(x)[:, part::3].reshape(9, 2, 4).transpose(0, 1) for part in range(3))
        mixed = (q @ k.transpose(1, 2) / 2).softmax(dim=-1) @ v
        torch.testing.assert_close(attention(x, None, None), attention.out(mixed.transpose(0, 1).reshape(9, 8)))


@pytest.mark.parametrize("training", [False, True])
def test_the_global_encoder_never_builds_the_matrix_of_all_pairs(training):
    encoder = GlobalEncoder(16, 2, 4, 16, 0.1).train(training)
    cells = torch.from_numpy(array_cells(square(6, 5)))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where only the plain formula would do
        found = encoder(torch.randn(30, 16), cells)
        found.sum().backward()
    assert found.shape == (30, 16)


def test_dropped_attention_in_parts_is_attention(monkeypatch):
    monkeypatch.setattr(blocks, "_ROWS", 4)
    q, k, v = (torch.randn(2, 11, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    torch.testing.assert_close(blocks._over_slide(q, k, v, 1e-12), blocks._over_slide(q, k, v, 0.0))
    torch.manual_seed(0)
    q.requires_grad_()
    blocks._over_slide(q, k, torch.ones_like(v), 0.5).sum().backward()
    assert bool((q.grad != 0).any())


def network(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = TriplexNetwork(TriplexSettings(**FEATURES, **{**TINY, **changes}), 4, n_target=6, n_context=6)
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return found.eval()


def batch(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, 25, generator=generator) > 0.4
    mask[:, 12] = True
    return (
        torch.randn(n, 1, 6, generator=generator),
        torch.randn(n, 25, 6, generator=generator),
        mask,
        torch.randn(n, 16, generator=generator),
    )


@torch.no_grad()
def test_masked_tiles_never_reach_the_fused_prediction():
    found, (own, around, mask, slide) = network(), batch()
    before = found(own, around, mask, slide)
    changed = around + 5 * (~mask).float().unsqueeze(-1)
    after = found(own, changed, mask, slide)
    torch.testing.assert_close(after.fusion, before.fusion)
    assert not torch.allclose(after.neighbour, before.neighbour)  # its mean takes masked tokens in, as released


@torch.no_grad()
def test_spots_of_a_slide_have_no_order_of_their_own():
    found, context = network(), torch.randn(12, 6, generator=torch.Generator().manual_seed(3))
    cells = torch.from_numpy(array_cells(square(4, 3)))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    moved = found.slide_tokens(context[order], cells[order])
    torch.testing.assert_close(moved, found.slide_tokens(context, cells)[order], atol=1e-4, rtol=1e-4)


DEEP = CONSTRUCTOR | {"neighbour_depth": 4, "fusion_mlp": 4}
COUNTS = [  # fact sheet section 7: released class, its ResNet-18 included
    (24_568_248, CONSTRUCTOR),
    (29_294_296, {}),
    (27_722_344, DEEP | {"neighbour_heads": 16, "global_mlp": 1, "neighbour_mlp": 1}),
    (40_320_840, DEEP | {"fusion_depth": 3, "global_depth": 3, "neighbour_mlp": 4}),
]


@pytest.mark.parametrize(("expected", "sizes"), COUNTS)
def test_the_network_has_the_parameters_of_the_released_one(expected, sizes):
    chosen = TriplexSettings.model_validate({**CARD.presets["official"], **sizes, "neighbours": "grid"})
    with torch.device("meta"):
        found = TriplexNetwork(chosen, 250, n_target=0, n_context=512)
    assert sum(parameter.numel() for parameter in found.parameters()) == expected


def test_the_network_on_features_has_the_parameters_of_the_released_one_without_its_resnet():
    wide = TriplexSettings(**FEATURES, **{**CONSTRUCTOR, "fusion_depth": 1, "neighbour_heads": 16}, emb_dim=1024)
    with torch.device("meta"):
        found = TriplexNetwork(wide, 200, n_target=1024, n_context=1024)
    assert sum(parameter.numel() for parameter in found.parameters()) == 43_870_784


# --- loss and batches


def test_the_loss_by_hand_and_its_gradients():
    label = torch.zeros(1, 2)
    values = [torch.tensor([[value, 0.0]], requires_grad=True) for value in (1.0, 2.0, 3.0, 4.0)]
    terms = loss_terms(Heads(*values), label, alpha=0.25)
    assert [float(terms[f"label_{name}"].detach()) for name in ("fusion", "target", "neighbour", "slide")] == [
        *(0.5, 2, 4.5, 8)
    ]
    assert float(terms["total"].detach()) == pytest.approx(0.5 + 0.75 * (2 + 4.5 + 8) + 0.25 * (0.5 + 2 + 4.5))
    terms["total"].backward()
    assert float(values[0].grad[0, 0]) == pytest.approx(1 - 0.25 * (1 + 2 + 3))  # pulled towards the single views too
    assert float(values[1].grad[0, 0]) == pytest.approx(0.75 * 2 + 0.25 * 1)


def test_a_clamped_output_gets_no_gradient():
    values = [torch.full((1, 1), value, requires_grad=True) for value in (-1.0, 1.0, 1.0, 1.0)]
    loss_terms(Heads(*values).clamped(), torch.ones(1, 1), alpha=0.3)["total"].backward()
    assert float(values[0].grad) == 0


@pytest.mark.parametrize("one_slide", [False, True])
def test_an_epoch_sees_every_spot_once(one_slide):
    batches = SpotBatches([7, 3, 12], 5, one_slide=one_slide, seed=0)
    for epoch in range(2):
        steps = [batches[epoch * len(batches) + step] for step in range(len(batches))]
        seen = sorted((slide, row) for step in steps for slide, rows in step for row in rows)
        assert seen == [(slide, row) for slide, n in enumerate([7, 3, 12]) for row in range(n)]
        assert all(sum(len(rows) for _, rows in step) <= 5 for step in steps)
        assert not one_slide or all(len(step) == 1 for step in steps)
    assert len(SpotBatches([2, 3], 128, one_slide=False, seed=0)) == 1


# --- the released code's numbers


def vectors(folder):
    return sorted((folder / "triplex").glob("*.safetensors"))


@pytest.fixture
def folder(request):
    return request.path.parents[1] / "parity"


NAMES = ["full_model_a", "fusion_encoder", "global_encoder_hex", "global_encoder_square", "neighbor_encoder_5x5"]


@pytest.mark.parametrize("name", NAMES)
def test_every_output_equals_the_released_one(folder, name):
    assert [path.stem for path in vectors(folder)] == NAMES
    report = compare_file(folder / "triplex" / f"{name}.safetensors")
    assert [row for row in report.rows if not row.passed] == []


def altered(path, to, change, **config):
    with safe_open(str(path), framework="pt") as file:
        tensors, known = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors)
    save_file(tensors, to, metadata=known | {"config": json.dumps(json.loads(known["config"]) | config)})
    return to


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("full_model_a", "fusion_encoder.fusion_layer.layers.0.0.fn.to_q.weight"),
        ("neighbor_encoder_5x5", "layer.layers.1.0.fn.attention_biases"),
        ("global_encoder_hex", "layer2.layers.0.0.fn.to_qkv.weight"),
        ("fusion_encoder", "fusion_layer.layers.1.1.fn.net.0.weight"),
    ],
)
def test_a_changed_weight_fails_and_a_missing_one_is_named(folder, tmp_path, name, key):
    path, to = folder / "triplex" / f"{name}.safetensors", tmp_path / "altered.safetensors"
    assert not compare_file(altered(path, to, lambda tensors: tensors[f"param/{key}"].mul_(1.1))).passed
    with pytest.raises(DataError, match=f"found no 'param/{key}'"):
        compare_file(altered(path, to, lambda tensors: tensors.pop(f"param/{key}")))


def test_another_position_encoding_is_not_ported(folder, tmp_path):
    path = folder / "triplex" / "global_encoder_hex.safetensors"
    with pytest.raises(DataError, match="expected pos_method APEG"):
        compare_file(altered(path, tmp_path / "mlp.safetensors", lambda tensors: None, pos_method="MLP"))


def test_the_gradient_of_every_parameter_is_given(folder, tmp_path):
    def change(tensors):
        key = "neighbor_encoder.layer.layers.0.1.fn.net.0.weight"
        tensors[f"output/train/grad/{key}"] = torch.zeros_like(tensors[f"param/{key}"])

    path = altered(folder / "triplex" / "full_model_a.safetensors", tmp_path / "grad.safetensors", change)
    (row,) = (row for row in compare_file(path).rows if row.name.endswith("net.0.weight"))
    assert 0 < row.difference < math.inf
