"""BLEEP (NeurIPS 2023, arXiv:2306.01859): contrastive embedding of patches and expression, prediction by retrieval."""

from stbench.methods.bleep.method import Bleep, load_official

__all__ = ["Bleep", "load_official"]
