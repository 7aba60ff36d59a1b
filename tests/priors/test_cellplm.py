import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stbench.errors import DataError
from stbench.priors.cellplm import embed, load_cellplm

from . import gene_models

SIZES = gene_models.CELLPLM
GENES = [f"ENSG{i:011d}" for i in range(SIZES["genes"])]
LATENT = "latent.layers.1.inference."


def counts(n=7, seed=0):
    return np.random.default_rng(seed).poisson(2, size=(n, len(GENES)))


def by_hand(state, x, heads=8, eps=1e-6):
    """The forward pass spelled out spot by spot, with every sum of the attention as a loop."""

    def linear(name, h):
        return h @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, h):
        return F.layer_norm(h, h.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    h = torch.log1p(torch.from_numpy(x).float()) @ state["embedder.feat_enc.emb"]
    h = F.relu(linear("embedder.extra_linear.0", h))
    third = "embedder.extra_linear.3"
    h = F.group_norm(h, 4, state[f"{third}.weight"], state[f"{third}.bias"])
    for i in range(SIZES["layers"]):
        stem = f"encoder.layers.{i}."
        normed = norm(f"{stem}norm1", h)
        q, k, v = (linear(f"{stem}self_attn.{p}_projection", normed) for p in ("query", "key", "value"))
        h = h + linear(f"{stem}self_attn.out_projection", torch.cat(flow(q, k, v, heads, eps), dim=-1))
        inner = F.gelu(linear(f"{stem}_ff_block.0", norm(f"{stem}norm2", h)))
        h = h + linear(f"{stem}_ff_block.3", inner)
    h = norm("pre_latent_norm.norm", h)
    component = F.one_hot(linear(f"{LATENT}inference_qyx.0.logits", h).argmax(-1), SIZES["clusters"]).float()
    z = F.relu(linear(f"{LATENT}inference_qzyx.0", torch.cat([h, component], dim=-1)))
    return linear(f"{LATENT}inference_qzyx.2.mu", z)


def flow(q, k, v, heads, eps):
    out = []
    for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        a, b = torch.sigmoid(a), torch.sigmoid(b)
        n = len(a)
        incoming = [1 / ((a[i] + eps) * (b.sum(0) + eps)).sum() for i in range(n)]
        outgoing = [1 / ((b[j] + eps) * (a.sum(0) + eps)).sum() for j in range(n)]
        sink = [((a[i] + eps) * (sum(b[j] * outgoing[j] for j in range(n)) + eps)).sum() for i in range(n)]
        source = [((b[j] + eps) * (sum(a[i] * incoming[i] for i in range(n)) + eps)).sum() for j in range(n)]
        weight = torch.stack(source).clamp(-1, 1).softmax(0) * n
        mixed = sum(torch.outer(b[j], c[j] * weight[j]) for j in range(n))
        out.append(torch.stack([torch.sigmoid(sink[i]) * ((a[i] * incoming[i]) @ mixed) for i in range(n)]))
    return out


def test_vectors_are_those_of_the_sums_spelled_out(tmp_path):
    state = gene_models.cellplm(tmp_path)
    vectors, mask = embed(load_cellplm(tmp_path), counts(), GENES)
    assert vectors.shape == (7, SIZES["latent"])
    assert mask.all()
    np.testing.assert_allclose(vectors, by_hand(state, counts()), rtol=1e-4, atol=1e-4)


def test_same_result_twice_and_whatever_the_order_of_genes(tmp_path):
    gene_models.cellplm(tmp_path)
    model, order = load_cellplm(tmp_path), np.random.default_rng(1).permutation(len(GENES))
    vectors, _ = embed(model, counts(), GENES)
    np.testing.assert_array_equal(vectors, embed(model, counts(), GENES)[0])
    permuted, _ = embed(model, counts()[:, order], [f"{GENES[i]}.3" for i in order])
    np.testing.assert_allclose(permuted, vectors, rtol=1e-4, atol=1e-5)


def test_spots_see_each_other_and_noise_is_seeded(tmp_path):
    gene_models.cellplm(tmp_path)
    model = load_cellplm(tmp_path)
    whole, part = embed(model, counts(), GENES)[0], embed(model, counts()[:4], GENES)[0]
    assert not np.allclose(whole[:4], part)
    noisy = embed(model, counts(), GENES, gumbel_seed=0)[0]
    np.testing.assert_array_equal(noisy, embed(model, counts(), GENES, gumbel_seed=0)[0])
    assert any(not np.allclose(noisy, embed(model, counts(), GENES, gumbel_seed=s)[0]) for s in range(1, 5))


def test_unknown_genes_are_left_out_and_empty_spots_masked(tmp_path):
    gene_models.cellplm(tmp_path)
    model, shown = load_cellplm(tmp_path), counts()
    shown[2] = 0
    vectors, mask = embed(model, np.hstack([shown, np.full((7, 2), 9)]), [*GENES, None, "ENSG00000999999"])
    assert mask.tolist() == [True, True, False, True, True, True, True]
    assert not vectors[2].any()
    np.testing.assert_allclose(vectors[mask], embed(model, shown, GENES)[0][mask], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="at least one gene it knows"):
        embed(model, shown, [None] * len(GENES))


def test_checkpoints_that_do_not_fit_name_the_entry(tmp_path):
    state = gene_models.cellplm(tmp_path)
    del state["encoder.layers.1.norm2.weight"]
    torch.save({"model_state_dict": state}, tmp_path / "tiny.best.ckpt")
    with pytest.raises(DataError, match=r"1 missing: layers\.1\.norm2\.weight"):
        load_cellplm(tmp_path)
    (tmp_path / "tiny.best.ckpt").unlink()
    with pytest.raises(DataError, match=r"expected one \*\.best\.ckpt, found none"):
        load_cellplm(tmp_path)
