"""TRIPLEX (arXiv:2403.07592): a spot's patch, its 5 x 5 neighbourhood and its slide, fused by cross-attention."""

from stbench.methods.triplex.method import Triplex

__all__ = ["Triplex"]
