"""The cohort of tiny slides, for studies too."""

from ..evaluation.conftest import card, cohort, method, settings, slides, split, task

__all__ = ["card", "cohort", "method", "settings", "slides", "split", "task"]
