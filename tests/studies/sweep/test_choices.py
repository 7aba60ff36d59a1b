"""What the user types."""

import pytest

from stbench.errors import SettingError
from stbench.studies.sweep.choices import Variant, parse_names, parse_numbers, parse_variant


def test_numbers_come_out_ascending():
    assert parse_numbers("--genes", "200, 10,50", 2) == (10, 50, 200)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "whole numbers"),
        ("10,x", "'10,x'"),
        ("10,-5", "whole numbers"),
        ("10,1", "from 2 up, found 1"),
        ("10,50,10", "10 once, found it 2 times"),
    ],
)
def test_numbers_that_are_none(text, said):
    with pytest.raises(SettingError, match=said):
        parse_numbers("--genes", text, 2)


def test_names():
    assert parse_names("flag, ridge") == ("flag", "ridge")
    assert parse_names("") == ()
    with pytest.raises(SettingError, match="flag once"):
        parse_names("flag,ridge,flag")


def test_a_value_of_a_variant_may_hold_commas():
    found = parse_variant("joint-released=joint-diffusion,correlation=official,widths=[1,2]")
    assert found == Variant("joint-released", "joint-diffusion", {"correlation": "official", "widths": "[1,2]"})


@pytest.mark.parametrize(
    "text", ["ridge", "=ridge,alpha=1", "A b=ridge,alpha=1", "a=,alpha=1", "a=ridge", "a=ridge,k=1,k=2"]
)
def test_no_variant(text):
    with pytest.raises(SettingError, match="--variant"):
        parse_variant(text)
