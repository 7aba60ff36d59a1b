"""Checkpoints of the released TRIPLEX."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stbench.errors import DataError
from stbench.methods.nn.released import released_state
from stbench.methods.triplex.network import TriplexNetwork
from stbench.methods.triplex.released import released_name, take_released
from stbench.methods.triplex.settings import TriplexSettings

VECTORS = Path(__file__).parents[1] / "parity" / "triplex" / "full_model_a.safetensors"
SIZES = {"emb_dim": 32, "fusion_depth": 1, "global_depth": 2, "neighbour_depth": 1, "fusion_heads": 4}
SIZES |= {"global_heads": 4, "neighbour_heads": 8, "fusion_mlp": 2, "global_mlp": 2, "neighbour_mlp": 1}
NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def network(seed=0, **changes):
    views = {"input": "features", "neighbours": "grid"} | changes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TriplexNetwork(TriplexSettings(**SIZES, **views), 7, n_target=512, n_context=32)


@pytest.fixture
def state():
    return {key.removeprefix("param/"): value for key, value in load_file(VECTORS).items() if key.startswith("param/")}


def test_the_released_parameters_are_loaded_whatever_wraps_them(state, tmp_path):
    save_file(state, tmp_path / "plain.safetensors")
    wrapped = {f"model.{name}": value for name, value in state.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "lightning.ckpt")
    for file in ("plain.safetensors", "lightning.ckpt"):
        found = network()
        take_released(found, *released_state(tmp_path / file))
        assert torch.equal(found.head.weight, state["fc.weight"])
        assert torch.equal(found.target_head.bias, state["fc_target.bias"])
        biases = state["neighbor_encoder.layer.layers.0.0.fn.attention_biases"]
        assert torch.equal(found.neighbour_encoder.blocks[0].attention.table, biases)
        second = state["global_encoder.layer2.layers.0.0.fn.to_qkv.weight"]
        assert torch.equal(found.global_encoder.blocks[1].attention.qkv.weight, second)


@pytest.mark.parametrize("numbered", [False, True])
def test_the_target_encoder_may_have_numbers_for_names(tmp_path, numbered):
    source, found = network(seed=1, input="patches"), network(input="patches")
    state = {released_name(name): value for name, value in source.state_dict().items()}
    if numbered:
        parts = {name: name.split(".", 2) for name in state}
        state = {
            f"resnet.{NUMBERS[stages[1]]}.{stages[2]}" if stages[0] == "target_encoder" else name: state[name]
            for name, stages in parts.items()
        }
        assert "resnet.4.0.conv1.weight" in state
    save_file(state, tmp_path / "triplex.safetensors")
    take_released(found, *released_state(tmp_path / "triplex.safetensors"))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in found.state_dict().items())


def test_every_entry_that_does_not_fit_is_named(state, tmp_path):
    gone = [name for name in state if name.startswith("neighbor_encoder.layer.layers.0.1.fn")]
    for name in gone:
        state[f"other.{name}"] = state.pop(name)
    state["fc.weight"] = torch.zeros(9, 5)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(DataError) as caught:
        take_released(network(), *released_state(tmp_path / "bad.safetensors"))
    said = str(caught.value)
    assert len(gone) == 4
    assert "4 missing" in said
    assert "4 unexpected" in said
    assert all(f"other.{name}" in said and f" {name}" in said for name in gone)
    assert "fc.weight (9, 5) instead of (7, 32)" in said
    assert "\n" not in said


@pytest.mark.parametrize("side", [3, 7])
def test_another_neighbourhood_is_told_by_its_table(state, side):
    name = "neighbor_encoder.layer.layers.0.0.fn.attention_biases"
    with pytest.raises(DataError) as caught:
        take_released(network(), {**state, f"model.{name}": torch.zeros(8, side**2)}, "triplex.ckpt")
    said = str(caught.value)
    assert said.startswith("triplex.ckpt: expected a table of relative positions of 5 x 5 tiles, (heads, 25), found ")
    assert f"found (8, {side**2}) in {name}; take a model trained with res_neighbor [5, 5]" in said
    assert "\n" not in said


def test_other_heads_of_the_same_neighbourhood_are_no_other_neighbourhood(state):
    name = "neighbor_encoder.layer.layers.0.0.fn.attention_biases"
    with pytest.raises(DataError, match=r"1 misshapen: .*attention_biases \(4, 25\) instead of \(8, 25\); set emb_dim"):
        take_released(network(), {**state, name: torch.zeros(4, 25)}, "triplex.ckpt")


def test_a_damaged_file_and_one_with_code_are_refused(tmp_path):
    (tmp_path / "half.safetensors").write_bytes(VECTORS.read_bytes()[:5000])
    torch.save({"state_dict": network()}, tmp_path / "pickle.ckpt")
    for file in ("half.safetensors", "pickle.ckpt", "absent.ckpt"):
        with pytest.raises(DataError, match=r"unreadable file|no such file"):
            take_released(network(), *released_state(tmp_path / file))
