"""The semi-synthetic cohort: real counts, and features that carry a known share of them.

There is no picture. A spot's features are made from its own expression and from noise by a fixed random network, so
that how much can be predicted from them is known and can be set.
"""

from stbench.data.semisynthetic.ceiling import best_from_own_spot
from stbench.data.semisynthetic.cohort import open_semisynthetic
from stbench.data.semisynthetic.settings import SemisyntheticSettings

__all__ = ["SemisyntheticSettings", "best_from_own_spot", "open_semisynthetic"]
