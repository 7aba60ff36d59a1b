"""The library scoringrules on NumPy alone: with numba it compiles for seconds, on import, what tests call once."""

import sys

import pytest

with pytest.MonkeyPatch.context() as without:
    without.setitem(sys.modules, "numba", None)
    import scoringrules

__all__ = ["scoringrules"]
