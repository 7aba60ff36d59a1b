"""stbench: a benchmark harness for predicting spatial gene expression from H&E slides.

From Python: :func:`run`, :func:`tune`, :func:`leaderboard`, :func:`plot`, :func:`report`, :func:`predict`,
:func:`submit` and :func:`read_slide`, named as the commands; they are loaded when first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stbench.api import leaderboard as leaderboard
    from stbench.api import plot as plot
    from stbench.api import predict as predict
    from stbench.api import read_slide as read_slide
    from stbench.api import report as report
    from stbench.api import run as run
    from stbench.api import submit as submit
    from stbench.api import tune as tune

__version__ = "0.1.0"
__all__ = ["leaderboard", "plot", "predict", "read_slide", "report", "run", "submit", "tune"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'stbench' has no attribute {name!r}")
    from stbench import api

    return getattr(api, name)
