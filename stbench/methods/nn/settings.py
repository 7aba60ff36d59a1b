"""Settings of the methods that diffuse on windows of spots, free of torch. Defaults are the paper's (Table 5)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stbench.methods.calibration import SamplerSettings
from stbench.training.settings import TrainingSettings

MOST_SPOTS = 1024  # attention and edges grow with their square; 2048 px of spots 100 um apart hold 30 to 500


class DiffusionSettings(SamplerSettings, TrainingSettings):
    """Noise, parameterisation and sampler, shared by every diffusion method on windows."""

    sigma_min: float = Field(
        default=0.01, gt=0, description="smallest noise level, in units of the diffused expression"
    )
    sigma_max: float = Field(default=10.0, gt=0, description="largest noise level")
    parameterization: Literal["epsilon", "raw", "edm", "flow"] = Field(
        default="epsilon", description="what the network's output means; raw: the score itself, as released"
    )
    noise_log_mean: float = Field(
        default=-0.4, description="mean of ln sigma in training (edm); higher ones train the conditional mean more"
    )
    start: Literal["training-mean", "zero"] = Field(
        default="training-mean", description="centre of the initial noise (epsilon and raw; the others standardise)"
    )
    solver: Literal["heun", "dpmpp-2m", "euler", "edm-heun", "midpoint"] = Field(
        default="heun", description="sampler; heun is the paper's, midpoint goes with flow"
    )
    passes: int = Field(default=201, ge=1, description="network evaluations per draw")
    validation_passes: int = Field(default=41, ge=1, description="the same in validation")
    validation_draws: int = Field(default=1, ge=1, description="draws averaged in validation")
    clip_negative: bool = Field(default=True, description="set negative predictions to 0, draw by draw")

    @model_validator(mode="after")
    def _solver_fits(self) -> Self:
        if self.solver == "midpoint" and self.parameterization != "flow":
            raise ValueError(f"solver midpoint needs parameterization flow, not {self.parameterization}")
        if self.parameterization == "flow" and self.solver not in ("midpoint", "heun"):
            raise ValueError(f"parameterization flow needs solver midpoint or heun, not {self.solver}")
        if self.sigma_max <= self.sigma_min:
            raise ValueError(f"sigma_max {self.sigma_max} must be above sigma_min {self.sigma_min}")
        return self


class GraphSettings(DiffusionSettings):
    """The spot graph and its transformer, shared by FLAG and the graph-diffusion methods."""

    hidden_dim: int = Field(default=384, ge=8, description="width of the networks")
    graph_layers: int = Field(default=6, ge=1, description="blocks of the graph transformer")
    graph_heads: int = Field(default=8, ge=1, description="attention heads of the graph transformer")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the graph transformer")
    attention: Literal["scalar", "channel"] = Field(
        default="scalar", description="one score per head (Eq. 60), or one per channel as released"
    )
    edge_stream: bool = Field(default=False, description="let edge states evolve from block to block, as released")
    edge_channels: Literal["both", "distance", "histology", "none"] = Field(
        default="both", description="which edge conditions the graph transformer sees (Table 14)"
    )
    adaptive_norm: bool = Field(
        default=True, description="condition the transformer's norms on time and pooled conditions"
    )
    sigma: float = Field(default=224.0, gt=0, description="width of the distance kernel, full-resolution px (Table 13)")
    window_px: float = Field(default=2048.0, gt=0, description="side of a window, full-resolution px")
    window_sampling: Literal["grid", "random"] = Field(
        default="grid", description="training windows: the fixed grid, or squares around random spots"
    )
    window_spots: int | None = Field(
        default=None, ge=1, description="most spots of a random training window, those nearest its centre; None: all"
    )
    window_most_spots: int = Field(
        default=MOST_SPOTS, ge=1, exclude_if=lambda most: most == MOST_SPOTS,  # came after runs were told by settings
        description="most spots of a window of the grid, in training and sampling; a fuller one is cut in parts",
    )  # fmt: skip
    standardize_features: bool = Field(
        default=True, description="z-score features with training statistics, clipped to 5; off as released"
    )
    feature_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of image features dropped in training")

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.window_spots is not None and self.window_sampling != "random":
            raise ValueError("window_spots needs window_sampling random: the fixed grid is never thinned")
        if self.hidden_dim % self.graph_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of graph_heads {self.graph_heads}")
        return self
