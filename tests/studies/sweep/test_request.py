"""What the user types."""

import pytest

from stbench.errors import SettingError
from stbench.studies.sweep.request import Variant, parse_variant


def test_a_value_of_a_variant_may_hold_commas():
    found = parse_variant("joint-released=joint-diffusion,correlation=official,widths=[1,2]")
    assert found == Variant("joint-released", "joint-diffusion", {"correlation": "official", "widths": "[1,2]"})
    assert parse_variant(found.text) == found


@pytest.mark.parametrize(
    "text", ["ridge", "=ridge,alpha=1", "A b=ridge,alpha=1", "a=,alpha=1", "a=ridge", "a=ridge,k=1,k=2"]
)
def test_no_variant(text):
    with pytest.raises(SettingError, match="--variant"):
        parse_variant(text)
