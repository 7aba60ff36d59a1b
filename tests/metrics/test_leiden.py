"""Leiden clusters against domains, where igraph, an extra, is installed."""

import importlib.util

import numpy as np
import pytest

from stbench.errors import DataError, SettingError
from stbench.metrics import domain_leiden, leiden, leiden_domains
from stbench.metrics.references import smoothed

from .test_domains import tissue
from .test_references import cut_of, dlpfc, panel  # noqa: F401

installed = pytest.mark.skipif(
    importlib.util.find_spec("igraph") is None, reason="igraph: pip install 'stbench[leiden]'"
)


def test_without_igraph_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(leiden, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'stbench\[leiden\]'"):
        leiden_domains(*tissue())


@pytest.mark.parametrize(("true", "domains"), [tissue(30), (tissue()[0], [""] * 200), (tissue()[0], ["a"] * 199)])
def test_what_cannot_be_clustered_is_refused(true, domains):
    with pytest.raises(DataError, match="expected at least 35 spots in two domains or more, found"):
        leiden_domains(true, domains)


def test_a_summary_is_median_and_range():
    found = leiden.LeidenAgreement((0.1, 0.5, 0.2), (0.3, 0.4, 0.8), (4, 5, 5))
    assert found.summary() == {"ari": (0.2, 0.1, 0.5), "nmi": (0.4, 0.3, 0.8), "n_clusters": (5, 4, 5)}


@installed
def test_domains_that_are_apart_are_found():
    found = leiden_domains(*tissue(), seeds=(0, 1))
    assert found.n_clusters == (4, 4)
    np.testing.assert_allclose([found.ari, found.nmi], 1)


@installed
def test_a_card_takes_one_figure_of_all_seeds():
    true, domains = tissue(apart=0.3)
    found = leiden_domains(true, domains).summary()
    for measure, values in found.items():
        for place, statistic in enumerate(("median", "lowest", "highest")):
            assert domain_leiden(true, true, domains, measure=measure, statistic=statistic) == values[place]
    assert found["ari"][1] <= found["ari"][0] <= found["ari"][2] < 1


def test_what_cannot_be_compared_is_undefined_with_a_reason():
    true, domains = tissue()
    few, names = tissue(30)
    cases = [(true, np.zeros_like(true), domains), (true, true, [""] * 200), (few, few, names)]
    reasons = ["does not vary", "expected 2 to 50 domains", "expected at least 35 spots"]
    for case, reason in zip(cases, reasons, strict=True):
        score = domain_leiden(*case)
        assert score.value is None
        assert reason in score.reason


@installed
@pytest.mark.real
@pytest.mark.slow
def test_domains_of_151673_are_those_measured_before(dlpfc):  # noqa: F811
    """Means over seeds: panel .197 (.014) / .311, smoothed .360 / .528; all genes .406 (.061) / .534 (.04)."""
    slide, _ = dlpfc
    cut = cut_of(slide, panel(slide, slide.genes))
    raw, panel_totals = cut.on("log1p"), np.asarray(slide.counts.sum(axis=1))
    scaled = np.log1p(slide.counts.toarray() / panel_totals * np.median(panel_totals))
    found = [leiden_domains(values, slide.domains) for values in (raw, smoothed(raw, cut.xy), scaled)]
    means = [(np.mean(each.ari), np.mean(each.nmi)) for each in found]
    np.testing.assert_allclose(means[:2], [(0.197, 0.311), (0.360, 0.528)], atol=0.014)
    np.testing.assert_allclose(means[2], (0.406, 0.534), atol=0.061)
