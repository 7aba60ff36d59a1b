"""Settings of TRIPLEX, free of torch. Defaults are the paper's for HER2ST; ``methods/triplex.toml`` has the presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stbench.methods.nn.patch_settings import PatchSettings
from stbench.training.settings import TrainingSettings

Neighbours = Literal["patches", "grid"]


class TriplexSettings(PatchSettings, TrainingSettings):
    """TRIPLEX's own switches; see the differences on its card."""

    backbone: str = Field(default="resnet18", description="timm network of the target patch and of the 25 tiles")
    neighbours: Neighbours = Field(
        default="patches",
        description="patches: 25 tiles cut around the spot, encoded by the frozen backbone; "
        "grid: features of the slide's own spots at the 25 array positions, holes masked",
    )
    positions: Literal["array", "pixels"] = Field(
        default="array", description="grid of the position encoding: array coordinates, or pixels / 20 as released"
    )
    emb_dim: int = Field(default=512, ge=1, description="width of tokens; other features are projected to it linearly")
    fusion_depth: int = Field(default=1, ge=1, description="blocks of the fusion encoder")
    global_depth: int = Field(default=3, ge=2, description="blocks of the global encoder")
    neighbour_depth: int = Field(default=3, ge=1, description="blocks of the neighbour encoder")
    fusion_heads: int = Field(default=4, ge=1, description="attention heads of the fusion encoder")
    global_heads: int = Field(default=16, ge=1, description="attention heads of the global encoder")
    neighbour_heads: int = Field(default=16, ge=1, description="attention heads of the neighbour encoder")
    fusion_mlp: float = Field(default=4.0, gt=0, description="feed-forward expansion of the fusion encoder")
    global_mlp: float = Field(default=4.0, gt=0, description="feed-forward expansion of the global encoder")
    neighbour_mlp: float = Field(default=1.0, gt=0, description="feed-forward expansion of the neighbour encoder")
    fusion_dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout of the fusion encoder")
    global_dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the global encoder")
    neighbour_dropout: float = Field(default=0.3, ge=0, lt=1, description="dropout of the neighbour encoder")
    attention_dropout: bool = Field(
        default=False, description="global dropout on attention weights too, as the released flash attention does"
    )
    kernel: int = Field(default=3, ge=1, description="side of the position encoding's convolution")
    position_residual: bool = Field(
        default=True, description="add the position encoding to the tokens; off: it replaces them, as released"
    )
    alpha: float = Field(default=0.3, ge=0, le=1, description="weight of the distillation terms")
    clamp: bool = Field(
        default=False,
        description="set negative outputs to 0, as released; in training too, unless genes are standardised",
    )
    standardize_genes: bool = Field(default=False, description="train on z-scored genes; off: on the task's scale")
    smooth_labels: bool = Field(
        default=False,
        description="train on labels averaged over array positions within 1 of the spot; the truth is never smoothed",
    )
    batch_from: Literal["all", "slide"] = Field(
        default="all", description="spots of a micro-step: of all slides, or of one slide (one global pass)"
    )
    batch_windows: int = Field(
        default=128, ge=1, description="spots per micro-step, each with its window of 5 x 5; all if there are fewer"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW; 0 makes it Adam")
    epochs: int = Field(default=200, ge=1, description="most passes over the training spots")
    accumulate: int = Field(default=1, ge=1, description="micro-steps per update")
    clip: float = Field(default=1e6, gt=0, description="largest gradient norm; the default never clips, as published")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the weight average, per update; 0 for none")
    validate_every: int = Field(default=75, ge=1, description="updates between evaluations; 75 are an epoch of HER2ST")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for part in ("fusion", "global", "neighbour"):
            heads = getattr(self, f"{part}_heads")
            if self.emb_dim % heads:
                raise ValueError(f"emb_dim {self.emb_dim} must be a multiple of {part}_heads {heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd")
        return self
