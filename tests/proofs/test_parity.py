"""The ports compute what the released code computed, and a file that says otherwise is found."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stbench.errors import DataError
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.flag.settings import FlagSettings
from stbench.proofs.parity import compare_file
from stbench.proofs.parity.compare import COMPONENTS as COMPONENTS_OF
from stbench.proofs.parity.reference import read_reference

PARITY = Path(__file__).parents[1] / "parity"
FILES = sorted(PARITY.glob("flag/*.safetensors"))
GRAPH_FILES = sorted(PARITY.glob("graph_diffusion/*.safetensors"))
NETWORK = PARITY / "flag" / "graph_dit_repa_shipped.safetensors"
COMPONENTS = {
    *("edge_attributes", "graph_dit_conditioned", "graph_dit_repa_conditioned", "graph_dit_repa_shipped"),
    *("graph_dit_shipped", "image_dit", "image_ditrepa", "loss_cell_alignment", "loss_gene_alignment", "loss_score"),
    *("metrics", "sampler_gene_alignment", "sampler_gene_alignment_conditioned", "sampler_score", "time_embeddings"),
    *("training_gene_alignment", "vesde"),
}
GRAPH_COMPONENTS = {
    *(f"graph_model_cond_edge_{edges}_ada_norm_{norm}" for edges in ("on", "off") for norm in ("on", "off")),
    *("loss_joint", "loss_node_only", "sampler_joint", "sampler_node_only", "training_joint", "edge_validation_loss"),
    *("vesde", "edge_attributes", "spot_correlation", "windows"),
}


def read(path):
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


@pytest.fixture
def altered(tmp_path):
    """Writes a reference file with other tensors or metadata."""

    def write(path, change=lambda tensors: None, **metadata):
        tensors, known = read(path)
        change(tensors)
        save_file(tensors, tmp_path / "altered.safetensors", metadata=known | metadata)
        return tmp_path / "altered.safetensors"

    return write


def bent(value):
    """The value with its largest entry changed by 1 %, or by 1 if it holds whole numbers."""
    if value.dtype == torch.bool:
        return ~value
    if not value.is_floating_point():
        return value + 1
    changed = value.clone().reshape(-1)
    changed[changed.abs().argmax()] *= 1.01
    return changed.reshape(value.shape)


def test_every_vector_is_here():
    assert {path.stem for path in FILES} == COMPONENTS
    assert {path.stem for path in GRAPH_FILES} == GRAPH_COMPONENTS


@pytest.mark.parametrize("path", FILES + GRAPH_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_output_equals_the_original(path):
    report = compare_file(path)
    assert [row for row in report.rows if not row.passed] == []
    assert {row.name for row in report.rows} == {
        name.removeprefix("output/") for name in read(path)[0] if name.startswith("output/")
    }
    assert all(row.note.startswith("ill-conditioned") for row in report.rows if row.note)
    assert report.passed


@pytest.mark.parametrize("path", FILES + GRAPH_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_output_that_is_one_percent_off_is_found(path, altered):
    def change(tensors):
        for name in [name for name in tensors if name.startswith("output/")]:
            tensors[name] = bent(tensors[name])

    report = compare_file(altered(path, change))
    assert not report.passed
    blind = {row.name for row in report.rows if row.passed and row.largest > 0}
    assert blind <= {row.name for row in report.rows if row.note}


def test_one_changed_value_fails_its_row_alone(altered):
    report = compare_file(altered(NETWORK, lambda tensors: tensors["output/score"][2, 3].mul_(1.01)))
    (failed,) = (row for row in report.rows if not row.passed)
    assert failed.name == "score"
    assert failed.difference > failed.tolerance


@pytest.mark.parametrize(
    ("value", "said"), [(torch.ones(3), "the port gives no such output"), (torch.tensor([math.nan]), "no such output")]
)
def test_an_output_that_the_port_does_not_give_fails(altered, value, said):
    report = compare_file(altered(NETWORK, lambda tensors: tensors.update({"output/unheard_of": value})))
    (row,) = (row for row in report.rows if row.name == "unheard_of")
    assert (row.passed, report.passed) == (False, False)
    assert said in row.note


def test_an_output_of_another_shape_fails(altered):
    report = compare_file(altered(NETWORK, lambda tensors: tensors.update({"output/score": torch.zeros(5, 8)})))
    (row,) = (row for row in report.rows if not row.passed)
    assert "shape (5, 7), not (5, 8)" in row.note


def test_a_value_that_is_not_a_number_fails(altered):
    report = compare_file(altered(NETWORK, lambda tensors: tensors["output/score"].view(-1)[0:1].fill_(math.nan)))
    assert [row.name for row in report.rows if not row.passed] == ["score"]


@pytest.mark.parametrize("name", ["blocks.1.attn.qkv.weight", "label_embed.0.bias", "graph_backbone.t_in.2.weight"])
def test_a_parameter_that_is_missing_renamed_or_of_another_shape_is_named(altered, name):
    key = f"param/{name}"
    with pytest.raises(DataError, match=f"found no '{key}'"):
        compare_file(altered(NETWORK, lambda tensors: tensors.pop(key)))
    with pytest.raises(DataError, match=f"unexpected 'param/zz.{name}'|found no '{key}'"):
        compare_file(altered(NETWORK, lambda tensors: tensors.update({f"param/zz.{name}": tensors.pop(key)})))
    with pytest.raises(DataError, match=f"unexpected 'param/zz.{name}'"):
        compare_file(altered(NETWORK, lambda tensors: tensors.update({f"param/zz.{name}": tensors[key].clone()})))


def test_a_parameter_of_another_shape_is_named(altered):
    key = "param/node2gene.0.weight"
    with pytest.raises(DataError, match=rf"'{key}' of shape \(9, 7\) by its config, found \(7, 9\)"):
        compare_file(altered(NETWORK, lambda tensors: tensors.update({key: tensors[key].T.contiguous()})))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"component": "decoder"}, "component 'decoder' of 'flag' is not ported"),
        ({"method": "unheard-of"}, "component 'graph_dit' of 'unheard-of' is not ported"),
        ({"config": "{}"}, "expected 'model_config' in its config"),
        ({"config": "no JSON"}, "found no JSON in config"),
        ({"config": json.dumps({"class": "Other", "model_config": {}})}, "in its config, found none"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(altered, metadata, said):
    with pytest.raises(DataError, match=said) as caught:
        compare_file(altered(NETWORK, **metadata))
    assert "\n" not in str(caught.value)


def test_a_missing_input_and_one_that_does_not_fit_are_refused(altered):
    with pytest.raises(DataError, match="expected the tensor 'input/cond_x', found none"):
        compare_file(altered(NETWORK, lambda tensors: tensors.pop("input/cond_x")))
    with pytest.raises(DataError, match="expected tensors that fit its config") as caught:
        compare_file(altered(NETWORK, lambda tensors: tensors.update({"input/x": torch.zeros(1, 5, 9)})))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ({"t_min": 0.001}, "t_min 0.001"),
        ({"name": "vpsde"}, "name vpsde"),
        ({"sigma_min": 20.0}, "sigma_min 20.0"),
        ({"sigma_max": 0.01}, "sigma_max 0.01"),
    ],
)
@pytest.mark.parametrize("file", ["flag/vesde", "flag/loss_score", "graph_diffusion/sampler_joint"])
def test_noise_that_the_port_has_not_is_refused_in_one_line(altered, file, rules, found):
    path = PARITY / f"{file}.safetensors"
    config = json.loads(read(path)[1]["config"])
    config["sde_config"] = config["sde_config"] | rules
    with pytest.raises(DataError, match=r"expected vesde with t_min 0\.01 and 0 < sigma_min < sigma_max") as caught:
        compare_file(altered(path, config=json.dumps(config)))
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("limit", "value"), [("sigma_min", 0.02), ("sigma_max", 50.0)])
def test_other_limits_of_the_noise_change_the_numbers(altered, limit, value):
    path = PARITY / "flag" / "vesde.safetensors"
    config = json.loads(read(path)[1]["config"])
    config["sde_config"][limit] = value
    failed = {row.name for row in compare_file(altered(path, config=json.dumps(config))).rows if not row.passed}
    assert {"sigma", "g", "log_ratio"} <= failed


def test_another_neighbourhood_of_triplex_is_refused_in_one_line(altered):
    path = PARITY / "triplex" / "full_model_a.safetensors"
    config = json.dumps(json.loads(read(path)[1]["config"]) | {"res_neighbor": [7, 7]})
    with pytest.raises(
        DataError, match=r"expected res_neighbor \[5, 5\] in its config, found \[7, 7\]; .* 5 x 5"
    ) as caught:
        compare_file(altered(path, config=config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 4096])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="unreadable file"):
        compare_file(path)
    with pytest.raises(DataError, match="unreadable file"):
        compare_file(tmp_path / "absent.safetensors")


def test_a_truncated_file_and_one_without_metadata_are_refused(tmp_path):
    path = tmp_path / "half.safetensors"
    path.write_bytes(NETWORK.read_bytes()[:9000])
    with pytest.raises(DataError, match="unreadable file"):
        compare_file(path)
    save_file({"output/x": torch.ones(1)}, path)
    with pytest.raises(DataError, match="found no method, component, config"):
        compare_file(path)


@pytest.mark.parametrize(
    ("suggested", "passed"), [({"rtol": 0.1}, True), ({"score": {"atol": 1e-9, "rtol": 0}}, False)]
)
def test_a_suggested_tolerance_holds(altered, suggested, passed):
    path = altered(
        NETWORK,
        lambda tensors: tensors["output/score"].mul_(1.01),
        suggested_tolerance=json.dumps(suggested),
    )
    (row,) = (row for row in compare_file(path).rows if row.name == "score")
    assert row.passed is passed


OWN = {
    "node_cond_dim": 6,
    "n_layers": 1,
    "n_heads": 3,
    "dropout": 0.1,
    "node_dim": 11,
    "d_gene": 5,
    "hidden_dim": 24,
    "d_model": 24,
    "num_heads": 2,
    "dit_num_blocks": 2,
    "encoder_layer": 1,
    "projector_dim": 9,
    "z_dim": 4,
    "mlp_ratio": 2.0,
    "use_cond_e_in_attn": True,
    "ada_norm": True,
}
RENAMED = {  # a few names spelled out here, independently of the port's table
    "time.maps.0.weight": "time_embed.mlp.0.weight",
    "genes.blocks.1.mlp_in.bias": "blocks.1.mlp.fc1.bias",
    "graph.blocks.0.stream.norm.scale_shift.weight": "graph_backbone.blocks.0.ga_e_norm.to_gb.1.weight",
    "graph.blocks.0.node.bias_query.weight": "graph_backbone.blocks.0.cx.cx_q_add.weight",
}


def own_reference(path, sizes, n_spots):
    """A reference that the port itself made, at sizes no file of the original has."""
    from stbench.proofs.parity.names import network_name

    settings = FlagSettings(
        hidden_dim=sizes["hidden_dim"],
        graph_layers=sizes["n_layers"],
        graph_heads=sizes["n_heads"],
        dit_layers=sizes["dit_num_blocks"],
        dit_heads=sizes["num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        gene_dim=sizes["d_gene"],
        align_layer=sizes["encoder_layer"],
        projector_dim=sizes["projector_dim"],
        attention="channel",
        edge_stream=True,
    )
    network = FlagNetwork(settings, sizes["node_dim"], sizes["node_cond_dim"], sizes["z_dim"]).eval()
    generator = torch.Generator().manual_seed(n_spots)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    names = {ours: network_name(ours, graph=True) for ours in network.state_dict()}
    assert RENAMED.items() <= names.items()
    x = torch.randn(1, n_spots, sizes["node_dim"], generator=generator)
    features = torch.randn(1, n_spots, sizes["node_cond_dim"], generator=generator)
    edges = torch.rand(1, n_spots, n_spots, 2, generator=generator)
    t, mask = torch.tensor([0.3]), torch.ones(1, n_spots, dtype=torch.bool)
    with torch.no_grad():
        out = network(x, t, features, edges, mask, project=True)
    inputs = {"x": x, "t": t, "cond_x": features, "cond_e": edges, "mask": mask, "e": edges[..., :1] * 0}
    unused = {f"label_embed.{k}.{part}": torch.ones(1) for k in (0, 2) for part in ("weight", "bias")}
    parameters = {names[ours]: value for ours, value in network.state_dict().items()} | unused
    tensors = {f"param/{name}": value for name, value in parameters.items()}
    tensors |= {f"input/{name}": value for name, value in inputs.items()}
    tensors |= {"output/score": out.value[0], "output/projected_tokens": out.projected}
    config = {"class": "GraphDitRepa", "model_config": sizes}
    metadata = {"method": "flag", "component": "graph_dit", "config": json.dumps(config)}
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    return path


@pytest.mark.parametrize("changes", [{}, {"node_dim": 3, "hidden_dim": 8, "d_model": 8, "n_heads": 2, "n_layers": 3}])
@pytest.mark.parametrize("n_spots", [1, 9])
def test_files_of_other_sizes_pass_without_a_change(tmp_path, changes, n_spots):
    path = own_reference(tmp_path / "own.safetensors", OWN | changes, n_spots)
    assert compare_file(path).passed


def own_graph_reference(path, component, mode, n_spots):
    """A reference of joint or node-only diffusion at sizes no file of the original has; outputs by the port itself."""
    from stbench.methods.graph_diffusion.network import GraphNetwork
    from stbench.methods.graph_diffusion.settings import NodeSettings
    from stbench.proofs.parity.names import transformer_name

    sizes = {"node_dim": 4, "node_cond_dim": 6, "d_model": 12, "n_layers": 3, "n_heads": 3, "dropout": 0.1}
    settings = NodeSettings(hidden_dim=12, graph_layers=3, graph_heads=3, attention="channel", edge_stream=True)
    network, generator = GraphNetwork(settings, 4, 6), torch.Generator().manual_seed(n_spots)
    tensors = {}
    for name, parameter in network.named_parameters():
        key = f"param/{transformer_name(name.removeprefix('graph.'))}"
        tensors[key] = 0.3 * torch.randn(parameter.shape, generator=generator)
    pairs = (1, n_spots, n_spots)
    shapes = {"cond_x": (1, n_spots, 6), "cond_e": (*pairs, 2), "x_gt": (1, n_spots, 4), "e_gt": (*pairs, 1), "u": (1,)}
    shapes |= {"noise_x": (1, n_spots, 4), "noise_e": (*pairs, 1)}
    tensors |= {f"input/{name}": torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    tensors["input/mask"] = torch.ones(1, n_spots, dtype=torch.bool)
    config = {
        "mode": mode,
        "steps": [2],
        "model_config": sizes | {"edge_cond_dim": 2, "use_cond_e_in_attn": True, "ada_norm": True},
        "sde_config": {"sigma_min": 0.02, "sigma_max": 5.0},
        "train_config": {"lambda_edge": 0.5, "lambda_consistency": 0.2},
    }
    metadata = {"method": "graph_diffusion", "component": component, "config": json.dumps(config)}
    tensors["output/none"] = torch.zeros(1)
    save_file(tensors, path, metadata=metadata)
    found = COMPONENTS_OF["graph_diffusion"][component](read_reference(path))
    outputs = {f"output/{name}": value.detach().clone().contiguous() for name, value in found.items()}
    del tensors["output/none"]
    save_file(tensors | outputs, path, metadata=metadata)
    return path, found


@pytest.mark.parametrize("mode", ["graph_diffusion_learned", "graph_diffusion_fixed"])
@pytest.mark.parametrize("n_spots", [1, 6])
def test_graph_diffusion_of_other_sizes_needs_no_change(tmp_path, mode, n_spots):
    for component in ("loss", "sampler"):
        path, found = own_graph_reference(tmp_path / "own.safetensors", component, mode, n_spots)
        assert compare_file(path).passed
        assert all(bool(torch.isfinite(value).all()) for value in found.values())
    path, found = own_graph_reference(tmp_path / "own.safetensors", "loss", mode, n_spots)
    parts = found["loss_x"] + 0.5 * found["loss_e"] + 0.2 * found["loss_cons"]
    torch.testing.assert_close(found["loss"], parts)
    assert (float(found["loss_e"].detach()) > 0) is (mode == "graph_diffusion_learned" and n_spots > 1)


def test_a_changed_weight_fails(tmp_path, altered):
    path = own_reference(tmp_path / "own.safetensors", OWN, 6)
    key = "param/graph_backbone.blocks.0.to_v.weight"
    report = compare_file(altered(path, lambda tensors: tensors[key].mul_(1.1)))
    assert [row.passed for row in report.rows] == [False, False]
