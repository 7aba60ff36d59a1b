"""Fixtures of runs: the tiny cohort without pictures, whose slides any process can be handed."""

from dataclasses import replace

import numpy as np
import pytest

from stbench.catalogue import MethodCard
from stbench.evaluation.build import build_task

from ..evaluation.conftest import card, make_cohort, make_slide, settings, split
from .methods import __file__ as METHODS

__all__ = ["card", "report", "settings", "split", "task", "trained"]


def bare_slides():
    """Eight slides of four patients with features of their own."""
    return [with_features(make_slide(f"P{p}-s{s}", f"P{p}")) for p in range(4) for s in range(2)]


def with_features(slide):
    adata = slide.adata.copy()
    adata.obsm["features"] = np.log1p(slide.xy) / 5
    return replace(slide, image=None, adata=adata)


@pytest.fixture
def trained():
    """The card of the trained method."""
    return MethodCard(name="trained", title="Trained", entry=f"{METHODS}:Trained", kind="generative", draws=2)


@pytest.fixture
def task(card, settings):
    return build_task(make_cohort(bare_slides()), card, replace(settings, encoder="given"))


@pytest.fixture
def report(request):
    """Prints a line at once, whatever is captured."""

    def say(line):
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{line}")

    return say
