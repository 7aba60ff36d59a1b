from importlib.util import find_spec

import numpy as np
import pytest

import stbench.metrics
from stbench.catalogue import MetricCard, load_entry, metric_cards
from stbench.errors import UnknownNameError
from stbench.metrics import (
    Score,
    crps,
    domain_ari,
    gene_set_gsc,
    gene_set_pcc,
    mae,
    marker_domains,
    marker_overlap,
    partial_pcc,
    pcc,
    score_slide,
    ssc,
    summary,
)
from stbench.metrics.summary import uninstalled


def test_every_card_leads_to_its_metric():
    for card in metric_cards().values():
        assert callable(load_entry(card.entry))
        assert card.description


def test_every_public_name_exists():
    for name in stbench.metrics.__all__:
        assert getattr(stbench.metrics, name).__name__
    with pytest.raises(AttributeError, match="no attribute 'rmse'"):
        stbench.metrics.rmse  # noqa: B018


def test_a_slide_is_scored_by_every_metric_of_single_slides(slide):
    true, pred, xy = slide()
    depth, draws = np.arange(121.0), np.stack([pred, pred + 1])
    about = {"domains": np.array(["a", "b"])[(xy[:, 0] > 1500).astype(int)], "genes": list("abcdefghijkl")}
    sets = {"some": about["genes"][:6], "all": about["genes"]}
    scores = score_slide(true, pred, xy, draws=draws, log_depth=depth, **about, sets=sets, scale="log1p")
    installed = {name for name, card in metric_cards().items() if all(map(find_spec, card.requires))}
    assert set(scores) == installed - {"pooled-pcc", "pooled-between", "pooled-within"}
    assert scores["pcc"] == pcc(true, pred)
    assert scores["ssc"] == ssc(true, pred, xy)
    assert scores["crps"] == crps(true, draws)
    assert scores["partial-pcc"] == partial_pcc(true, pred, depth)
    assert scores["domain-ari"] == domain_ari(true, pred, about["domains"])
    assert "not on log1p" in scores["marker-overlap-20"].reason
    assert scores["gene-set-pcc"] == gene_set_pcc(true, pred, about["genes"], sets)
    assert scores["gene-set-network"] == gene_set_gsc(true, pred, about["genes"], sets)


def test_metrics_of_an_extra_are_left_out_where_it_is_not_installed(slide, monkeypatch):
    monkeypatch.setattr(summary, "find_spec", lambda module: None)
    true, pred, xy = slide()
    domains = np.array(["a", "b"])[(xy[:, 0] > 1500).astype(int)]
    found = score_slide(true, pred, xy, domains=domains)
    assert "domain-ari" in found
    assert not [name for name in found if name.endswith("-leiden")]
    said = uninstalled()
    assert said.startswith("left out: ")
    assert "domain-ari-leiden, " in said
    assert said.endswith("which need igraph; pip install 'stbench[leiden]'")
    monkeypatch.setattr(summary, "find_spec", lambda module: module)
    assert uninstalled() == ""


def test_settings_of_a_card_are_keywords_and_a_request_wins(slide):
    true, pred, xy = slide(n_genes=60)
    about = {"domains": np.array(["a", "b"])[(xy[:, 0] > 1500).astype(int)], "scale": "cp10k-log1p"}
    for k in (20, 50):
        name = f"marker-domains-{k}"
        assert score_slide(true, pred, xy, names=[name], **about)[name] == marker_domains(true, pred, **about, k=k)
    asked = {"names": ["marker-overlap-50"], "parameters": {"marker-overlap-50": {"k": 5}}}
    found = score_slide(true, pred, xy, **asked, **about)["marker-overlap-50"]
    assert found == marker_overlap(true, pred, **about, k=5) > 0
    assert score_slide(true, pred, xy, names=["marker-overlap-50"], domains=about["domains"]) == {}


def test_a_metric_may_ask_for_the_names_of_genes(slide, tmp_path, monkeypatch):
    file = tmp_path / "pathway.py"
    file.write_text("def of(true, pred, genes, wanted):\n    return float(sum(gene in wanted for gene in genes))\n")
    card = {"name": "pathway", "title": "pathway", "entry": f"{file}:of", "direction": "none", "needs": ["genes"]}
    found = MetricCard(**card, settings={"wanted": ["B", "C"]})
    monkeypatch.setattr(summary, "metric_cards", lambda: {"pathway": found})
    assert score_slide(*slide(n_genes=3), genes=["A", "B", "C"])["pathway"] == 2
    assert score_slide(*slide(n_genes=3)) == {}


def test_a_point_prediction_is_its_own_only_draw_and_depth_is_optional(slide):
    true, pred, xy = slide()
    scores = score_slide(true, pred, xy)
    assert scores["mae"] == mae(true, pred)
    assert scores["crps"].value is None
    assert score_slide(true, pred, xy, spread=np.ones(12))["crps"] == crps(true, pred[None], np.ones(12))
    assert scores["coverage-error"].value is None
    assert "partial-pcc" not in scores


def test_metrics_can_be_chosen_and_unknown_ones_name_the_nearest(slide):
    assert list(score_slide(*slide(), names=["mse", "gsc"])) == ["mse", "gsc"]
    with pytest.raises(UnknownNameError, match="did you mean gsc"):
        score_slide(*slide(), names=["gcs"])


def test_a_third_party_metric_needs_a_card_and_a_function(slide, tmp_path, monkeypatch):
    file = tmp_path / "extra.py"
    file.write_text("def bias(true, pred, xy):\n    return float((pred - true).mean()) + 0 * xy.sum()\n")
    card = MetricCard(name="bias", title="bias", entry=f"{file}:bias", direction="none", needs=["xy"])
    monkeypatch.setattr(summary, "metric_cards", lambda: {"bias": card})
    true, _, xy = slide()
    scores = score_slide(true, true + 2, xy)
    assert isinstance(scores["bias"], Score)
    assert scores["bias"].value == pytest.approx(2, abs=1e-6)


def test_the_inputs_of_a_metric_are_not_modified(slide):
    true, pred, xy = slide()
    draws, depth = np.stack([pred, pred + 1]), np.arange(121.0)
    given = (true, pred, xy, draws, depth)
    before = [array.copy() for array in given]
    score_slide(true, pred, xy, draws=draws, log_depth=depth)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
