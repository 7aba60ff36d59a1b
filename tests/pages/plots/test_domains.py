"""Maps of domains: one set of names and colours for labels, clusters of the truth and of predictions."""

from dataclasses import replace

import numpy as np
import pytest

from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.metrics import domain_ari, gsc
from stbench.pages.plots.domains import NO_DOMAIN, domain_figure, domain_maps, palette
from stbench.pages.plots.draw import Pictures
from stbench.pages.plots.material import NotPossibleError
from stbench.pages.plots.structure import correlations, gene_order, network
from stbench.pages.plots.style import Canvas

from .test_maps import discs, titles


@pytest.fixture
def banded(view):
    """A slide of 60 spots in three domains, whose truth knows them and whose predictions are one good, one flat."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 20)
    true = (3 * rng.normal(size=(3, 5))[codes] + 0.3 * rng.normal(size=(60, 5))).astype(np.float32)
    domains = np.array(["fat", "gland", "tumour"])[codes]
    domains[::10] = ""
    xy = np.stack([codes * 20 + np.arange(60) % 4 * 4, np.arange(60) % 20 * 4], 1).astype(np.float32)
    truth = replace(view.truth, inputs=replace(view.truth.inputs, xy=xy), expression=true, domains=domains)
    good = (true + 0.3 * rng.normal(size=true.shape)).astype(np.float32)
    predictions = [good, np.ones_like(true)]
    shown = [
        replace(one, prediction=replace(one.prediction, draws=values[None]))
        for one, values in zip(view.shown, predictions, strict=True)
    ]
    return replace(view, truth=truth, shown=shown), codes


def test_panels_share_names_and_leave_spots_without_domain_out(banded):
    view, codes = banded
    names, (labels, measured, good, flat) = domain_maps(view)
    assert names == ["fat", "gland", "tumour"]
    expected = np.where(view.truth.domains == "", NO_DOMAIN, codes)
    for panel in (labels, measured, good):
        np.testing.assert_array_equal(panel.codes, expected)
    assert [labels.score, good.score] == ["", "ARI 1.00, NMI 1.00"]
    assert good.ari == domain_ari(view.truth.expression, view.shown[0].prediction.mean, view.truth.domains)
    assert (set(flat.codes), flat.score) == ({NO_DOMAIN}, "ARI undefined, NMI undefined")


def test_the_figure_shows_the_panels_in_one_set_of_colours(banded):
    view, _ = banded
    figure = domain_figure(view, Canvas.of(view))
    _, panels = domain_maps(view)
    for drawn, panel in zip(discs(figure), panels, strict=True):
        np.testing.assert_array_equal(drawn.get_array().filled(NO_DOMAIN), panel.codes)
        assert drawn.get_clim() == (-0.5, 2.5)
    assert titles(figure)[:2] == ["domains", "measured ARI 1.00, NMI 1.00"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fat", "gland", "tumour"]
    assert len({tuple(palette(20)(i)) for i in range(20)}) == 20


def test_a_slide_without_domains_is_left_out(at):
    material = at()
    view = material.view("P3-s0", material.predicting)
    with pytest.raises(NotPossibleError, match=r"expected domains of slide P3-s0, found none to draw: no tissue"):
        domain_maps(view)
    with pytest.raises(NotPossibleError, match=r"expected tissue domains .* on a test slide, found none"):
        material.with_domains()


def test_the_first_slide_with_domains_is_shown(at, slides, tmp_path):
    for slide in slides:
        if slide.id == "P3-s1":
            slide.adata.obs["domain"] = ["a", "b"] * 8
    material = at(slides=slides)
    assert material.with_domains() == "P3-s1"
    with pytest.raises(NotPossibleError, match="of slide P3-s1, found none to draw: expected more than 20 spots"):
        Pictures(material, tmp_path / "out").draw(["domains"])


def test_the_network_of_a_set_is_of_its_genes_alone(view):
    genes = view.task.genes[3:0:-1]
    figure = network(view, genes, "SET")
    columns = [view.column(gene) for gene in genes]
    truth, first = view.truth.expression[:, columns], view.shown[0].prediction.mean[:, columns]
    order = gene_order(correlations(truth))
    maps = [axes for axes in figure.axes if axes.images]
    for axes, values in zip(maps, (truth, first), strict=False):
        np.testing.assert_allclose(axes.images[0].get_array(), correlations(values)[np.ix_(order, order)])
        assert [label.get_text() for label in axes.get_yticklabels()] == [genes[i] for i in order]
    assert f"GSC {float(gsc(truth, first)):.2f}".replace("-", "−") in maps[1].get_title()
    assert "of SET on slide P3-s0" in figure.get_suptitle()


def test_a_set_is_asked_for_by_name(at, tmp_path):
    material = at(genes=8)
    panel = material.runs[0].record.task.genes
    sets = GeneSetFile(tmp_path / "sets.gmt", {"MOST": panel[:6], "FEW": panel[:2]}, "0" * 64)
    written = Pictures(material, tmp_path / "out", sets=sets, gene_set="MOST").draw(["network"])
    assert [path.name for path in written] == ["network-P3-s0-MOST.png", "network-P3-s0-MOST.svg"]
    with pytest.raises(NotPossibleError, match="expected 5 genes of FEW in the panel of 8, found 2; run more --genes"):
        Pictures(material, tmp_path / "out", sets=sets, gene_set="FEW").draw(["network"])
    with pytest.raises(UnknownNameError, match="gene set 'MOSTLY'"):
        Pictures(material, tmp_path / "out", sets=sets, gene_set="MOSTLY").draw()
    with pytest.raises(SettingError, match="--gene-set: expected --gene-sets FILE beside it"):
        Pictures(material, tmp_path / "out", gene_set="MOST").draw()
