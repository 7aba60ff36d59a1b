"""Stem (arXiv:2501.15598): a diffusion transformer over the genes of one spot, conditioned on its image features."""

from stbench.methods.stem.method import Stem

__all__ = ["Stem"]
