"""STFlow (arXiv:2506.05361): flow matching over all spots of a slide with local, frame-averaged attention."""

from stbench.methods.stflow.method import StFlow

__all__ = ["StFlow"]
