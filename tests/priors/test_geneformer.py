import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stbench.errors import DataError
from stbench.priors.geneformer import embed, load_geneformer, read_config, read_vocabulary, tokenize

from . import gene_models

GENES = gene_models.GENES


@pytest.fixture
def checkpoint(tmp_path):
    state = gene_models.geneformer(tmp_path)
    module = load_geneformer(tmp_path)
    return state, module, read_vocabulary(tmp_path, module.words.num_embeddings)


def counts_of(*spots):
    found = np.zeros((len(spots), len(GENES)), dtype=np.int32)
    for row, spot in enumerate(spots):
        for gene, count in spot.items():
            found[row, gene] = count
    return found


def panel_tokens(vocabulary):
    return np.array([vocabulary.tokens[gene] for gene in GENES])


def test_tokens_fall_with_count_over_median(checkpoint):
    _, _, vocabulary = checkpoint
    # medians are 1, 2, 3, 4, 1, ...: gene 0 has 2, gene 1 has 6 / 2 = 3, gene 2 has 3 / 3 = 1
    (ids,) = tokenize(counts_of({0: 2, 1: 6, 2: 3}), GENES, vocabulary, 32)
    assert ids.tolist() == [2, 4 + 1, 4 + 0, 4 + 2, 3]  # <cls>, genes, <eos>


def test_depth_changes_no_token(checkpoint):
    _, _, vocabulary = checkpoint
    counts = np.random.default_rng(0).poisson(2, size=(6, len(GENES)))
    once, again = (tokenize(c, GENES, vocabulary, 32) for c in (counts, counts * 7))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_ties_keep_the_order_of_the_genes(checkpoint):
    _, _, vocabulary = checkpoint
    (ids,) = tokenize(counts_of({4: 5, 0: 5}), GENES, vocabulary, 32)
    assert ids.tolist()[1:-1] == [4, 8]


def test_aliases_collapse_and_versions_are_dropped(checkpoint):
    _, _, vocabulary = checkpoint
    counts = np.array([[1, 1, 3]])
    (ids,) = tokenize(counts, ["ensg00000009999.4", GENES[0], GENES[1]], vocabulary, 32)
    assert ids.tolist()[1:-1] == [4, 5]  # 1 + 1 over median 1 beats 3 over 2


def test_long_sequences_are_cut_behind_the_special_tokens(checkpoint):
    _, _, vocabulary = checkpoint
    (ids,) = tokenize(np.ones((1, len(GENES)), dtype=int), GENES, vocabulary, 8)
    assert len(ids) == 8
    assert (ids[0], ids[-1]) == (2, 3)


def test_v1_has_no_special_tokens_and_reads_torch_files(tmp_path):
    gene_models.geneformer(tmp_path, wraps=False, numpy_medians=True, weights="pytorch_model.bin")
    module = load_geneformer(tmp_path)
    vocabulary = read_vocabulary(tmp_path, module.words.num_embeddings)
    (ids,) = tokenize(counts_of({0: 1}), GENES, vocabulary, 32)
    assert ids.tolist() == [2]


@pytest.mark.parametrize(("layer", "index"), [("last", -1), ("penultimate", -2)])
def test_states_are_those_of_torchs_layers(checkpoint, layer, index):
    state, module, vocabulary = checkpoint
    counts = np.random.default_rng(1).poisson(1, size=(1, len(GENES)))
    (ids,) = tokenize(counts, GENES, vocabulary, 32)
    vectors, mask = embed(module, [ids], panel_tokens(vocabulary), vocabulary, layer)
    expected = gene_models.geneformer_hidden_states(state, ids)[index]
    for position, token in enumerate(ids.tolist()[1:-1], start=1):
        gene = token - 4
        assert mask[0, gene]
        np.testing.assert_allclose(vectors[0, gene], expected[position], atol=1e-5)


def test_batches_of_unequal_spots_equal_single_ones(checkpoint):
    _, module, vocabulary = checkpoint
    counts = np.random.default_rng(2).poisson([[0.3], [3], [1]], size=(3, len(GENES)))
    sequences = tokenize(counts, GENES, vocabulary, 32)
    together, mask = embed(module, sequences, panel_tokens(vocabulary), vocabulary)
    for row, ids in enumerate(sequences):
        alone, alone_mask = embed(module, [ids], panel_tokens(vocabulary), vocabulary)
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)
        np.testing.assert_array_equal(mask[row], alone_mask[0])


def test_a_spot_without_known_gene_is_masked(checkpoint):
    _, module, vocabulary = checkpoint
    sequences = tokenize(counts_of({}, {3: 1}), GENES, vocabulary, 32)
    vectors, mask = embed(module, sequences, panel_tokens(vocabulary), vocabulary)
    assert not mask[0].any()
    assert not vectors[0].any()
    assert mask[1].sum() == 1


def test_panel_order_and_unknown_genes(checkpoint):
    _, module, vocabulary = checkpoint
    sequences = tokenize(counts_of({3: 1, 5: 9}), GENES, vocabulary, 32)
    full, _ = embed(module, sequences, panel_tokens(vocabulary), vocabulary)
    tokens = np.array([vocabulary.tokens[GENES[5]], -1, vocabulary.tokens[GENES[3]]])
    vectors, mask = embed(module, sequences, tokens, vocabulary)
    np.testing.assert_array_equal(mask, [[True, False, True]])
    np.testing.assert_array_equal(vectors[0, [0, 2]], full[0, [5, 3]])
    assert not vectors[0, 1].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bert.encoder.layer.1.output.dense.bias"), r"1 missing: encoder\.layers\.1\.feed\.2\.bias"),
        (lambda s: s.pop("bert.encoder.layer.0.attention.self.key.weight"), "found no key"),
        (lambda s: s.update({"bert.encoder.layer.0.extra": torch.zeros(1)}), r"1 unexpected: .*extra"),
        (
            lambda s: s.update({"bert.embeddings.word_embeddings.weight": torch.zeros(3, 24)}),
            r"1 misshapen: words\.weight \(3, 24\) instead of \(24, 24\)",
        ),
    ],
)
def test_weights_that_do_not_fit_name_the_entry(tmp_path, change, message):
    state = gene_models.geneformer(tmp_path)
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=message):
        load_geneformer(tmp_path)


def test_config_with_another_activation_is_refused(tmp_path):
    gene_models.geneformer(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    with pytest.raises(DataError, match="expected ReLU"):
        read_config(tmp_path)


def test_two_generations_of_dictionaries_are_refused(tmp_path):
    gene_models.geneformer(tmp_path)
    gene_models.geneformer(tmp_path, wraps=False)
    with pytest.raises(DataError, match="keep one generation"):
        read_vocabulary(tmp_path, 24)
