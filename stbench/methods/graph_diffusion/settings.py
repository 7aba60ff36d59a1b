"""Settings of the graph-diffusion methods, free of torch; the cards in ``methods/`` hold the presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stbench.methods.nn.settings import GraphSettings

JOINT_MOST_SPOTS = 320  # a state of hidden_dim numbers for every pair: 1.5 GB a pass at the paper's width


class NodeSettings(GraphSettings):
    """What both methods share, and all that node-only diffusion takes."""

    oracle_edges: bool = Field(
        default=False,
        description="true Pearson correlations of the spots as a third edge condition (Figure 1); oracle cards alone",
    )

    @property
    def sees_truth(self) -> bool:
        """Whether these settings hand the truth to the method, which cards of kind oracle alone may do."""
        return self.oracle_edges

    @model_validator(mode="after")
    def _width_is_even(self) -> Self:
        if self.hidden_dim % 2:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be even: half of it are sines of the time")
        return self


class JointSettings(NodeSettings):
    """Joint diffusion's own switches; see the differences on its card."""

    edge_stream: Literal[True] = Field(default=True, description="always on: edges are diffused")
    window_most_spots: int = Field(
        default=JOINT_MOST_SPOTS, ge=1, exclude_if=lambda most: most == JOINT_MOST_SPOTS,
        description="most spots of a window of the grid, in training and sampling; a fuller one is cut in parts",
    )  # fmt: skip
    correlation: Literal["pearson", "official"] = Field(
        default="pearson", description="clean edges: correlation of spots over genes, or the released sum-centred one"
    )
    edge_noise: Literal["symmetric", "as-released"] = Field(
        default="symmetric",
        description="one noise per pair; as-released trains without symmetry and starts from the symmetrised noise",
    )
    correlation_gradient: bool = Field(
        default=False, description="let the consistency loss train the node score through the correlation"
    )
    edge_weight: float = Field(default=1.0, ge=0, description="weight of the edge loss")
    consistency_weight: float = Field(default=0.1, ge=0, description="weight of the consistency loss (Eq. 3)")
