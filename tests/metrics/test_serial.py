import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.errors import DataError
from stbench.metrics import Cut, count_split, gsc, serial_sections, ssc

from .test_splitting import DEP, RAW, cut_of, measure, smooth_rates, values


def pair(seed=0, side=16):
    """Two measurements of one tissue at the same spots."""
    rates, xy = smooth_rates(side=side, seed=seed)
    generator = np.random.default_rng(seed + 7)
    return [measure(rates, xy, generator) for _ in range(2)]


def moved(cut, by, spots=slice(None)):
    return Cut(cut.counts[spots], cut.totals[spots], np.asarray(cut.xy)[spots] + by)


@pytest.mark.parametrize(("scale", "allowed"), [(RAW, 0.03), (DEP, 0.06)])
def test_a_cut_of_the_same_tissue_gives_what_count_splitting_gives(scale, allowed):
    pairs = [pair(seed) for seed in range(6)]
    serial = np.mean([values(serial_sections(first, [second], scale)) for first, second in pairs], axis=0)
    split = np.mean([values(count_split(first, scale)) for first, _ in pairs], axis=0)
    np.testing.assert_allclose(serial, split, atol=allowed)


@pytest.mark.parametrize("scale", [RAW, DEP])
def test_structure_is_that_of_the_metrics(scale):
    first, second = pair()
    ceiling = serial_sections(first, [second], scale)
    one, other = first.on(scale), second.on(scale)
    assert ceiling.gsc == pytest.approx(gsc(one, other), abs=1e-9)
    assert ceiling.ssc == pytest.approx(ssc(one, other, first.xy), abs=1e-9)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True)]
    assert ceiling.pcc == pytest.approx(np.sqrt(np.mean(r)), abs=1e-6)
    assert ceiling.mse == pytest.approx(np.mean(one.var(axis=0) * (1 - np.array(r))), abs=1e-6)
    assert ceiling.pcc_spearman_brown is None


@pytest.mark.parametrize("by", [(1.5, -1.0), (-3.0, 3.0), (0.5, 0.0)])
def test_a_cut_that_lies_elsewhere_is_moved_back(by):
    first, second = pair(side=24)
    expected = serial_sections(first, [second], RAW)
    for unit in (1.0, 100.0):  # whatever the unit of positions
        here = Cut(first.counts, first.totals, np.asarray(first.xy) * unit)
        there = Cut(second.counts, second.totals, (np.asarray(second.xy) + by) * unit)
        np.testing.assert_allclose(values(serial_sections(here, [there], RAW)), values(expected), atol=1e-9)


def test_a_cut_too_far_away_says_less():
    first, second = pair(side=24)
    assert (
        serial_sections(first, [moved(second, (9.0, 9.0))], RAW).pcc < serial_sections(first, [second], RAW).pcc - 0.1
    )


def test_cuts_need_not_have_the_same_spots():
    first, second = pair()
    spots = np.random.default_rng(0).permutation(len(np.asarray(second.xy)))
    expected = values(serial_sections(first, [second], RAW))
    np.testing.assert_allclose(values(serial_sections(first, [moved(second, 0, spots)], RAW)), expected, atol=1e-9)
    assert abs(serial_sections(first, [moved(second, 0, spots[:200])], RAW).pcc - expected[0]) < 0.1


def test_neighbours_are_averaged():
    first, second = pair()
    third = pair(side=16)[0]
    other = moved(third, 0, np.arange(200))
    both = serial_sections(first, [second, other], RAW)
    single = [serial_sections(first, [one], RAW) for one in (second, other)]
    assert both.gsc == pytest.approx(np.mean([one.gsc for one in single]))
    assert both.pcc == pytest.approx(np.sqrt(np.mean([one.pcc**2 for one in single])))
    np.testing.assert_allclose(values(serial_sections(first, [other, second], RAW)), values(both))


def test_genes_constant_in_either_cut():
    first, second = pair()
    counts = first.counts.toarray()
    counts[:, 0] = 0
    ceiling = serial_sections(cut_of(counts, first.xy), [second], RAW)
    assert (ceiling.pcc.n_used, ceiling.pcc.n_undefined) == (29, 1)
    back = serial_sections(second, [cut_of(counts, first.xy)], RAW)
    assert (back.pcc.n_used, back.pcc.n_undefined) == (30, 0)  # it varies, and the neighbour says nothing of it
    assert ceiling.gsc == pytest.approx(back.gsc)


def test_slides_without_a_neighbour():
    first, second = pair(side=6)
    with pytest.raises(DataError, match="neighbouring cuts with 30 genes as the slide, found none"):
        serial_sections(first, [], RAW)
    fewer = Cut(csr_matrix(second.counts[:, :9]), second.totals, second.xy)
    with pytest.raises(DataError, match=r"with 30 genes as the slide, found \[9\]"):
        serial_sections(first, [fewer], RAW)
