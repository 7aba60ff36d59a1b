import json
import os

import numpy as np
import pytest
import torch

from stbench.errors import DataError
from stbench.priors.scgpt import bin_values, embed, load_scgpt

from . import gene_models

GENES = gene_models.SCGPT_GENES


def counts(n=4, seed=0):
    return np.random.default_rng(seed).poisson(1.5, size=(n, len(GENES)))


def test_bins_of_the_worked_example():
    found = bin_values(np.array([1, 1, 1, 2, 5, 9, 3]))
    assert found[:3].tolist() == [9, 9, 9]
    assert found[5] == 50


def test_bins_ignore_increasing_transforms_and_keep_zeros():
    values = np.array([0, 3, 1, 0, 8, 2, 2])
    np.testing.assert_array_equal(bin_values(values), bin_values(np.log1p(values)))
    assert not bin_values(values)[values == 0].any()
    assert not bin_values(np.zeros(5)).any()


def test_drawn_ties_stay_between_their_edges_and_repeat():
    values = np.array([1, 1, 1, 2, 5, 9, 3])
    once = bin_values(values, tie="random", seed="spot1")
    np.testing.assert_array_equal(once, bin_values(values, tie="random", seed="spot1"))
    drawn = np.array([bin_values(values, tie="random", seed=f"s{i}")[:3] for i in range(200)])
    assert 1 <= drawn.min() < drawn.max() <= 17


@pytest.mark.parametrize("include_zero", [True, False])
def test_states_are_those_of_torchs_layers(tmp_path, include_zero):
    state = gene_models.scgpt(tmp_path)
    model = load_scgpt(tmp_path)
    spot = counts(1)
    vectors, mask = embed(model, spot, GENES, include_zero=include_zero)
    shown = np.flatnonzero(spot[0] > 0) if not include_zero else np.arange(len(GENES))
    ids = torch.tensor([model.vocabulary["<cls>"], *shown])
    values = torch.tensor([-2.0, *bin_values(spot[0])[shown]])
    np.testing.assert_array_equal(np.flatnonzero(mask[0]), shown)
    np.testing.assert_allclose(vectors[0, shown], gene_models.scgpt_states(state, ids, values)[1:], atol=1e-5)


def test_the_three_spellings_are_one_model(tmp_path):
    found = []
    for spelling in ("flash", "wrapped", "torch"):
        gene_models.scgpt(tmp_path / spelling, spelling)
        found.append(embed(load_scgpt(tmp_path / spelling), counts(), GENES)[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_order_of_genes_and_spots_changes_nothing(tmp_path):
    gene_models.scgpt(tmp_path)
    model = load_scgpt(tmp_path)
    shown, order = counts(), np.random.default_rng(3).permutation(len(GENES))
    vectors, _ = embed(model, shown, GENES, batch=3)
    permuted, _ = embed(model, shown[:, order], [GENES[i] for i in order])
    np.testing.assert_allclose(permuted, vectors[:, order], atol=2e-5)


def test_unknown_genes_are_masked(tmp_path):
    gene_models.scgpt(tmp_path)
    vectors, mask = embed(load_scgpt(tmp_path), np.ones((1, 2), dtype=int), ["G1", "NONE"])
    assert mask.tolist() == [[True, False]]
    assert not vectors[0, 1].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("transformer_encoder.layers.1.norm2.weight"), r"1 missing: encoder\.layers\.1\.norm2\.weight"),
        (lambda s: s.update(surprise=torch.zeros(1)), "1 unexpected: surprise"),
        (lambda s: s.pop("encoder.embedding.weight"), "is it an scGPT checkpoint"),
    ],
)
def test_checkpoints_that_do_not_fit_name_the_entry(tmp_path, change, message):
    state = gene_models.scgpt(tmp_path)
    change(state)
    torch.save(state, tmp_path / "best_model.pt")
    with pytest.raises(DataError, match=message):
        load_scgpt(tmp_path)


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_foreign_object_is_refused_and_not_run(tmp_path):
    state = gene_models.scgpt(tmp_path)
    torch.save(state | {"x": Harmful(tmp_path / "made")}, tmp_path / "best_model.pt")
    with pytest.raises(DataError, match="unreadable"):
        load_scgpt(tmp_path)
    assert not (tmp_path / "made").exists()


def test_a_vocabulary_without_special_token_is_refused(tmp_path):
    gene_models.scgpt(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    del vocabulary["<cls>"]
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(DataError, match=r"expected the token <cls>"):
        load_scgpt(tmp_path)
