"""What a user asks of one ``stbench predict``."""

from pathlib import Path

import pytest

from stbench.errors import UserError
from stbench.evaluation.predict_request import ASKED, PredictRequest

PLACES = {"model": Path("m"), "out": Path("o")}


def test_a_request_is_kept_read_and_typed_again():
    asked = PredictRequest(**PLACES, slides=("a.svs", "b.svs"), um_per_px=0.5, keep_draws=True)
    assert PredictRequest.read(asked.dump()).dump() == asked.dump()
    assert asked.command() == ("stbench predict --model m --slide a.svs --slide b.svs --um-per-px 0.5 --keep-draws")


def test_every_option_that_is_asked_for_is_a_field():
    assert set(ASKED) <= set(PredictRequest.options())


@pytest.mark.parametrize(("asked", "said"), [
    ({}, "--slide: expected a picture, found none"),
    ({"slides": ("a",), "seeds": (0, 1)}, "--seed: expected one, found 0, 1"),
    ({"slides": ("a",), "um_per_px": -1.0}, "--um-per-px: expected micrometres above 0, found -1"),
    ({"slides": ("a",), "pitch_um": float("nan")}, "--pitch: expected micrometres above 0, found nan"),
    ({"slides": ("a",), "to": "csv"}, "unknown --to 'csv'"),
    ({"slides": ("a",), "out": Path("o.zarr")}, "--out: expected .h5ad with --to h5ad, found o.zarr; name it so"),
    ({"slides": ("a",), "spots": Path("nowhere")}, "--spots: expected a table of spots, found: .*nowhere"),
])  # fmt: skip
def test_what_cannot_be(asked, said):
    with pytest.raises(UserError, match=said):
        PredictRequest(**{**PLACES, **asked}).check()


def test_a_cohort_or_a_slide_will_do():
    PredictRequest(**PLACES, dataset="her2st").check()
    PredictRequest(**PLACES, slides=("a.svs",)).check()
