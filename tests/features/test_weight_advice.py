"""Weight files that do not fit: what is said, and that what is said works."""

import re
import shlex

import pytest
import torch
from torch import nn

from stbench.errors import DataError
from stbench.features.weights import load_strictly, read_state


def network():
    torch.manual_seed(0)
    return nn.ModuleDict({"stem": nn.Linear(3, 4), "blocks": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])})


def prefixed(prefix, **more):
    return {**{f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}, **more}


def loads(path, ignored=()):
    module = network()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    load_strictly(module, read_state(path), path, ignored)
    return all(torch.equal(tensor, network().state_dict()[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.backbone.", "model.encoder."])
def test_what_frameworks_put_before_names_is_left_out(tmp_path, prefix):
    torch.save({"state_dict": prefixed(prefix)}, tmp_path / "lightning.ckpt")
    assert loads(tmp_path / "lightning.ckpt")


def test_a_head_that_is_not_needed_does_not_matter(tmp_path):
    torch.save(prefixed("backbone.", **{"head.weight": torch.ones(2)}), tmp_path / "a.pth")
    assert loads(tmp_path / "a.pth", ("head.",))
    with pytest.raises(DataError, match="6 missing"):
        loads(tmp_path / "a.pth")


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_no_entry_may_be_missing_because_of_a_prefix(tmp_path, change):
    state = prefixed("model.")
    if change == "missing":
        del state["model.stem.bias"]
    else:
        state["model.stem.scale" if change == "unexpected" else "model.stem.bias"] = torch.ones(9)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(DataError, match="check the architecture's name"):
        loads(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["blocks.0.ls1.gamma", "blocks.0.gamma_1", "layer.0.layer_scale2.lambda1"])
def test_layer_scale_is_told(tmp_path, name):
    torch.save(prefixed("", **{name: torch.ones(4)}), tmp_path / "uni.bin")
    with pytest.raises(DataError, match=r"--encoder uni.* put the publisher's config\.json .* beside uni\.bin"):
        loads(tmp_path / "uni.bin")


@pytest.mark.parametrize("under", [(), ("model",), ("state_dict", "model")])
def test_a_file_of_several_networks_names_them_and_the_command_works(tmp_path, under):
    content = {"student": prefixed("backbone."), "teacher": prefixed("backbone."), "epoch": 3}
    for key in reversed(under):
        content = {key: content}
    path = tmp_path / "my dino.pth"
    torch.save(content, path)
    with pytest.raises(
        DataError, match=r"found the keys epoch, student, teacher .*of student or teacher alone"
    ) as error:
        read_state(path)
    words = shlex.split(re.search("python -c .*", str(error.value))[0])
    assert words[:2] == ["python", "-c"]
    exec(words[2], {})
    assert loads(tmp_path / "my dino-teacher.safetensors")


def test_a_file_of_other_things_names_what_is_there(tmp_path):
    torch.save({"a": 1, "b": [2], "c": 3, "d": 4}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"found the keys a, b, c and 1 more at its top$"):
        read_state(tmp_path / "a.pth")
