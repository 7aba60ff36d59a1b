"""FLAG (arXiv:2605.18055): a spatial graph encoder conditions a diffusion transformer whose tokens are genes."""

from stbench.methods.flag.method import Flag

__all__ = ["Flag"]
