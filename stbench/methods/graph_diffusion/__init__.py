"""Graph diffusion (arXiv:2605.18055, Section 3.2): nodes and edges together, or nodes alone, under one transformer."""

from stbench.methods.graph_diffusion.method import JointDiffusion, NodeDiffusion

__all__ = ["JointDiffusion", "NodeDiffusion"]
