"""Metrics of slides that are too large to be worked on at once."""

import tracemalloc

import numpy as np
import pytest

from stbench.catalogue import metric_cards
from stbench.errors import DataError
from stbench.metrics import pcc, score, score_slide
from stbench.metrics.domains import cluster
from stbench.metrics.markers import rank_sum_z
from stbench.metrics.score import Content, by_genes, gene_blocks
from stbench.metrics.summary import DOMAINS, SLIDES, add_slide, over_slides

OF_ONE_SLIDE = [card.name for card in metric_cards().values() if not {DOMAINS, SLIDES} & set(card.needs)]

CODES = np.arange(3000) % 3


def facts_of(true, xy):
    genes = [f"G{gene}" for gene in range(true.shape[1])]
    facts = {"xy": xy, "log_depth": np.log1p(np.expm1(true).sum(axis=1)), "genes": genes, "scale": "log1p"}
    return {**facts, "patient": "P", "sets": {"first": genes[:6], "last": genes[-6:]}}


def scores_of(true, draws, facts, spread):
    """Every metric that needs no domains, of draws or of a point prediction, and those of slides together."""
    together, pred = over_slides(), draws.mean(axis=0)
    found = score_slide(true, pred, **facts, names=OF_ONE_SLIDE, draws=None if spread else draws, spread=spread)
    add_slide(together, true, pred, facts)
    return found | {name: metric.value() for name, metric in together.items()}


@pytest.mark.parametrize("dressed", [False, True])
def test_some_genes_at_a_time_give_the_same_scores_to_the_bit(slide, monkeypatch, dressed):
    true, pred, xy = slide(n_genes=23)
    true[:, 4], pred[:, 9] = 1.0, 0.5
    draws = pred + np.random.default_rng(0).normal(size=(4, *pred.shape)).astype(np.float32)
    draws[:, :, 9] = 0.5
    arguments = true, draws, facts_of(true, xy), [0.5] * 23 if dressed else None
    whole = scores_of(*arguments)
    monkeypatch.setattr(score, "BLOCK", 5 * len(true))
    assert len(gene_blocks(true.shape)) == 5
    for name, found in scores_of(*arguments).items():
        assert (found.value, found.reason) == (whole[name].value, whole[name].reason), name
        assert (found.n_undefined, found.n_constant) == (whole[name].n_undefined, whole[name].n_constant), name
        np.testing.assert_array_equal(found.per_gene, whole[name].per_gene, err_msg=name)


@pytest.mark.parametrize("name", OF_ONE_SLIDE)
def test_a_metric_of_a_large_slide_holds_two_copies_of_it_at_most(name, monkeypatch):
    monkeypatch.setattr(score, "BLOCK", 2**14)
    n_spots, n_genes = 20_000, 12
    generator = np.random.default_rng(0)
    xy = np.stack(np.divmod(np.arange(n_spots), 200), axis=1).astype(np.float32)
    true = generator.poisson(2.0, (n_spots, n_genes)).astype(np.float32)
    draws, facts = true + generator.standard_normal((3, *true.shape), dtype=np.float32), facts_of(true, xy)
    tracemalloc.start()
    scored = score_slide(true, draws[0], **facts, names=[name], draws=draws)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scored[name].value is not None
    graph = 30e6 if "xy" in metric_cards()[name].needs else 0  # neighbours of 20,000 spots, however many genes
    assert held < 2.5 * 8 * true.size + graph


@pytest.mark.parametrize("shape", [(1, 1), (10, 2), (10, 3), (7, 10), (100, 9), (1000, 1)])
def test_blocks_are_all_genes_once_and_no_gene_is_alone(shape, monkeypatch):
    monkeypatch.setattr(score, "BLOCK", 20)
    blocks = gene_blocks(shape)
    genes = [gene for block in blocks for gene in range(shape[1])[block]]
    assert genes == list(range(shape[1]))
    assert len(blocks) == 1 or min(block.stop - block.start for block in blocks) > 1


def test_a_broken_value_is_named_by_its_place_in_the_whole(slide, monkeypatch):
    monkeypatch.setattr(score, "BLOCK", 1)
    true, pred, _ = slide()
    pred[3, 10] = np.nan
    with pytest.raises(DataError, match="finite predicted expression, found nan at spot 3, gene 10"):
        pcc(true, pred)


def test_measures_get_float64_whatever_came():
    seen = []
    for kind in (np.float16, np.float32, np.float64, np.int64):
        by_genes(lambda *pair: seen.extend(pair) or (pair[0][0],), np.eye(4, dtype=kind), np.eye(4).tolist())
    assert {array.dtype for array in seen} == {np.dtype(np.float64)}


@pytest.mark.parametrize("ask", [lambda values: cluster(values, 3), lambda values: rank_sum_z(values, CODES)])
def test_what_is_remembered_of_a_slide_is_no_copy_of_it(ask):
    values = np.random.default_rng(0).normal(size=(len(CODES), 40))
    other = ask(values[::-1].copy())  # loads what it needs
    tracemalloc.start()
    first = ask(values)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < values.nbytes / 4
    np.testing.assert_array_equal(ask(values.copy()), first)
    assert not np.array_equal(other, first)


def test_keys_are_equal_where_values_shapes_and_types_are():
    values = np.arange(6.0)
    assert Content(values) == Content(values.copy()) != Content(values.reshape(2, 3))
    assert len({Content(values), Content(values.copy()), Content(values.astype(np.float32))}) == 2
