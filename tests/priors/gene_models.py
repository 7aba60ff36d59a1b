"""Tiny checkpoints in the layout of the published ones, and a second way to compute their states."""

import json
import pickle

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

GENES = [f"ENSG{i:011d}" for i in range(20)]
WIDTH, LAYERS, HEADS, FEED = 24, 3, 3, 96


def _draw(generator, *shape):
    return torch.randn(*shape, generator=generator) * 0.3


def geneformer(folder, *, wraps=True, numpy_medians=False, positions=32, weights="model.safetensors"):
    """A checkpoint folder with its dictionaries; returns the state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<pad>", "<mask>", "<cls>", "<eos>"] if wraps else ["<pad>", "<mask>"]
    vocab = len(special) + len(GENES)
    config = {
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "intermediate_size": FEED,
        "num_hidden_layers": LAYERS,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    state = geneformer_state(vocab, positions)
    if weights.endswith("safetensors"):
        save_file(state, folder / weights, metadata={"format": "pt"})
    else:
        torch.save(state, folder / weights)
    tokens = {name: i for i, name in enumerate(special + GENES)}
    number = np.float64 if numpy_medians else float
    medians = {gene: number(1 + i % 4) for i, gene in enumerate(GENES)}
    generation = "gc104M" if wraps else "gc30M"
    dictionaries = {
        "token_dictionary": tokens,
        "gene_median_dictionary": medians,
        "ensembl_mapping_dict": {"ENSG00000009999": GENES[0], **{gene: gene for gene in GENES}},
        "gene_name_id_dict": {f"G{i}": gene for i, gene in enumerate(GENES)},
    }
    for name, content in dictionaries.items():
        (folder / f"{name}_{generation}.pkl").write_bytes(pickle.dumps(content, protocol=4))
    return state


def geneformer_state(vocab, positions):
    draw, W = torch.Generator().manual_seed(0), WIDTH
    state = {
        "bert.embeddings.word_embeddings.weight": _draw(draw, vocab, W),
        "bert.embeddings.position_embeddings.weight": _draw(draw, positions, W),
        "bert.embeddings.token_type_embeddings.weight": _draw(draw, 2, W),
        "bert.embeddings.LayerNorm.weight": 1 + _draw(draw, W),
        "bert.embeddings.LayerNorm.bias": _draw(draw, W),
        "cls.predictions.bias": _draw(draw, vocab),
        "cls.predictions.transform.dense.weight": _draw(draw, W, W),
    }
    shapes = {
        "attention.self.query": (W, W),
        "attention.self.key": (W, W),
        "attention.self.value": (W, W),
        "attention.output.dense": (W, W),
        "attention.output.LayerNorm": (W,),
        "intermediate.dense": (FEED, W),
        "output.dense": (W, FEED),
        "output.LayerNorm": (W,),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            stem = f"bert.encoder.layer.{layer}.{name}"
            state[f"{stem}.weight"] = _draw(draw, *shape) + (1 if "Norm" in name else 0)
            state[f"{stem}.bias"] = _draw(draw, shape[0])
    return state


def torch_layers(parts, eps, heads=HEADS):
    """torch's own encoder layers from (qkv weight, qkv bias, out, norm1, feed in, feed out, norm2) by layer."""
    layers = []
    for part in parts:
        width, feed = part["out.weight"].shape[0], part["feed.0.weight"].shape[0]
        layer = nn.TransformerEncoderLayer(width, heads, feed, dropout=0, layer_norm_eps=eps, batch_first=True)
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": part["qkv.weight"],
                "self_attn.in_proj_bias": part["qkv.bias"],
                **{f"self_attn.out_proj.{k}": part[f"out.{k}"] for k in ("weight", "bias")},
                **{f"linear1.{k}": part[f"feed.0.{k}"] for k in ("weight", "bias")},
                **{f"linear2.{k}": part[f"feed.2.{k}"] for k in ("weight", "bias")},
                **{f"{n}.{k}": part[f"{n}.{k}"] for n in ("norm1", "norm2") for k in ("weight", "bias")},
            }
        )
        layers.append(layer.train())  # the fast path of evaluation zeroes padding
    return layers


def geneformer_hidden_states(state, ids):
    """Every hidden state of one unpadded sequence."""
    W = WIDTH
    x = (
        state["bert.embeddings.word_embeddings.weight"][ids]
        + state["bert.embeddings.position_embeddings.weight"][: len(ids)]
    )
    x = x + state["bert.embeddings.token_type_embeddings.weight"][0]
    norm = (state["bert.embeddings.LayerNorm.weight"], state["bert.embeddings.LayerNorm.bias"])
    x = nn.functional.layer_norm(x, (W,), *norm, 1e-12).unsqueeze(0)
    hidden = [x]
    for layer in torch_layers([_bert_layer(state, i) for i in range(LAYERS)], 1e-12):
        x = layer(x)
        hidden.append(x)
    return [h[0].detach() for h in hidden]


def _bert_layer(state, index):
    stem = f"bert.encoder.layer.{index}"
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "feed.0": "intermediate.dense",
        "feed.2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    found = {f"{ours}.{k}": state[f"{stem}.{theirs}.{k}"] for ours, theirs in names.items() for k in ("weight", "bias")}
    for kind in ("weight", "bias"):
        roles = [state[f"{stem}.attention.self.{role}.{kind}"] for role in ("query", "key", "value")]
        found[f"qkv.{kind}"] = torch.cat(roles)
    return found


SCGPT_GENES = [f"G{i}" for i in range(30)]
SCGPT_WIDTH, SCGPT_HEADS = 32, 4


def scgpt(folder, spelling="flash", genes=SCGPT_GENES):
    """A checkpoint folder; returns the state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {name: i for i, name in enumerate([*genes, "<pad>", "<cls>", "<eoc>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    arguments = {
        "embsize": SCGPT_WIDTH,
        "nheads": SCGPT_HEADS,
        "d_hid": SCGPT_WIDTH,
        "nlayers": LAYERS,
        "n_layers_cls": 3,
        "dropout": 0.2,
        "pad_token": "<pad>",
        "pad_value": -2,
        "unknown": 1,
        "other": "x",
    }
    (folder / "args.json").write_text(json.dumps(arguments))
    state = scgpt_state(len(vocabulary), spelling)
    torch.save(state, folder / "best_model.pt")
    return state


def scgpt_state(vocab, spelling="flash"):
    draw, W = torch.Generator().manual_seed(1), SCGPT_WIDTH
    names = {
        "flash": ("self_attn.Wqkv.weight", "self_attn.Wqkv.bias", "self_attn.out_proj"),
        "wrapped": ("self_attn._impl.Wqkv.weight", "self_attn._impl.Wqkv.bias", "self_attn._impl.out_proj"),
        "torch": ("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj"),
    }
    weight, bias, out = names[spelling]
    state = {"encoder.embedding.weight": _draw(draw, vocab, W), "flag_encoder.weight": torch.zeros(2, W)}
    for norm in ("encoder.enc_norm", "value_encoder.norm"):
        state |= {f"{norm}.weight": 1 + _draw(draw, W), f"{norm}.bias": _draw(draw, W)}
    for name, shape in (("value_encoder.linear1", (W, 1)), ("value_encoder.linear2", (W, W)), ("decoder.fc.0", (W, W))):
        state |= {f"{name}.weight": _draw(draw, *shape), f"{name}.bias": _draw(draw, shape[0])}
    for i in range(LAYERS):
        stem = f"transformer_encoder.layers.{i}."
        state |= {stem + weight: _draw(draw, 3 * W, W), stem + bias: _draw(draw, 3 * W)}
        for name in (out, "linear1", "linear2"):
            state |= {f"{stem}{name}.weight": _draw(draw, W, W), f"{stem}{name}.bias": _draw(draw, W)}
        for norm in ("norm1", "norm2"):
            state |= {f"{stem}{norm}.weight": 1 + _draw(draw, W), f"{stem}{norm}.bias": _draw(draw, W)}
    return state


def scgpt_states(state, ids, values):
    """States of one sequence of gene ids and values, by torch's own layers."""
    W = SCGPT_WIDTH
    genes = state["encoder.embedding.weight"][ids]
    genes = nn.functional.layer_norm(genes, (W,), state["encoder.enc_norm.weight"], state["encoder.enc_norm.bias"])
    first = (
        values.clamp(max=512)[:, None] @ state["value_encoder.linear1.weight"].T + state["value_encoder.linear1.bias"]
    )
    second = torch.relu(first) @ state["value_encoder.linear2.weight"].T + state["value_encoder.linear2.bias"]
    norm = (state["value_encoder.norm.weight"], state["value_encoder.norm.bias"])
    x = (genes + nn.functional.layer_norm(second, (W,), *norm)).unsqueeze(0)
    for layer in torch_layers([_scgpt_layer(state, i) for i in range(LAYERS)], 1e-5, SCGPT_HEADS):
        x = layer(x)
    return x[0].detach()


def _scgpt_layer(state, index):
    stem = f"transformer_encoder.layers.{index}."
    names = {"qkv": "self_attn.Wqkv", "out": "self_attn.out_proj", "feed.0": "linear1", "feed.2": "linear2"}
    names |= {"norm1": "norm1", "norm2": "norm2"}
    return {f"{ours}.{k}": state[f"{stem}{theirs}.{k}"] for ours, theirs in names.items() for k in ("weight", "bias")}


CELLPLM = {"width": 32, "layers": 2, "latent": 16, "joint": 512, "clusters": 16, "genes": 40}


def cellplm(folder):
    """A checkpoint folder; returns the state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    s = CELLPLM
    genes = [f"ENSG{i:011d}" for i in range(s["genes"])]
    config = {"enc_hid": s["width"], "enc_layers": s["layers"], "post_latent_dim": s["latent"], "gene_list": genes}
    config |= {"num_clusters": s["clusters"], "enc_mod": "flowformer", "norm": "groupnorm", "model_dropout": 0.2}
    (folder / "tiny.config.json").write_text(json.dumps(config))
    state = cellplm_state()
    torch.save({"model_state_dict": state}, folder / "tiny.best.ckpt")
    return state


def cellplm_state():
    draw, s = torch.Generator().manual_seed(2), CELLPLM
    W, latent = s["width"], "latent.layers.1.inference."
    state = {
        "embedder.feat_enc.emb": _draw(draw, s["genes"], W),
        "embedder.pe_enc.missing_pe": _draw(draw, W),
        "embedder.norm0.weight": _draw(draw, W),
        "decoder.out.weight": _draw(draw, 2, 2),
    }
    linears = {
        "embedder.extra_linear.0": (W, W),
        f"{latent}inference_qyx.0.logits": (s["clusters"], W),
        f"{latent}inference_qzyx.0": (s["joint"], W + s["clusters"]),
        f"{latent}inference_qzyx.2.mu": (s["latent"], s["joint"]),
        f"{latent}inference_qzyx.2.var": (s["latent"], s["joint"]),
    }
    norms = ["embedder.extra_linear.3", "pre_latent_norm.norm"]
    for i in range(s["layers"]):
        stem = f"encoder.layers.{i}."
        linears |= {f"{stem}self_attn.{p}_projection": (W, W) for p in ("query", "key", "value", "out")}
        linears |= {f"{stem}_ff_block.0": (2 * W, W), f"{stem}_ff_block.3": (W, 2 * W)}
        norms += [f"{stem}norm1", f"{stem}norm2"]
    for name, shape in linears.items():
        state |= {f"{name}.weight": _draw(draw, *shape), f"{name}.bias": _draw(draw, shape[0])}
    for name in norms:
        state |= {f"{name}.weight": 1 + _draw(draw, W), f"{name}.bias": _draw(draw, W)}
    return state
