"""Settings of HisToGene, free of torch. Defaults are the paper's; ``methods/histogene.toml`` holds the presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stbench.methods.nn.patch_settings import PatchSettings
from stbench.training.settings import TrainingSettings

PIXELS = "pixels"


class HisToGeneSettings(PatchSettings, TrainingSettings):
    """HisToGene's own switches; see the differences on its card."""

    dim: int = Field(default=1024, ge=1, description="width of a token")
    layers: int = Field(default=8, ge=1, description="transformer blocks")
    heads: int = Field(default=16, ge=1, description="attention heads")
    head_dim: int = Field(default=64, ge=1, description="width of an attention head")
    mlp_ratio: float = Field(default=2.0, gt=0, description="feed-forward expansion")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of tokens, attention output and feed-forward")
    backbone: str = Field(
        default=PIXELS,
        description="what turns a patch into a vector: pixels (all of them, flattened, as published) or a timm network",
    )
    pixel_scale: Literal["raw", "unit"] = Field(
        default="raw", description="pixel values 0-255 as published, or 0-1 (backbone pixels)"
    )
    patch_px: int = Field(default=112, ge=1, description="pixels a patch's side is brought to (input patches)")
    augment: bool = Field(default=False, description="flip and turn patches at random in training")
    positions: Literal["array", "xy"] = Field(
        default="array", description="array positions, or a grid of the spots' own pitch laid over their pixels"
    )
    table_rows: int | None = Field(
        default=None, ge=1, description="rows of each position table; None: as many as training and validation need"
    )
    unseen_positions: Literal["nearest", "initial"] = Field(
        default="nearest",
        description="a position no training slide has takes the nearest one, or its untrained row as released",
    )
    position_balance: float | None = Field(
        default=None,
        gt=0,
        description="spread of positions over spread of image tokens at the start; None: N(0, 1) tables as published",
    )
    standardize_targets: bool = Field(
        default=False, description="regress z-scored genes (training statistics); off: the task's scale as published"
    )
    most_spots: int | None = Field(
        default=None,
        ge=1,
        description="spots of a slide in one training step, drawn at random; None: all, as published",
    )
    lr: float = Field(default=1e-5, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW; 0 is plain Adam")
    epochs: int = Field(default=100, ge=1, description="most passes over the training slides")
    batch_windows: Literal[1] = Field(default=1, description="a slide is one sequence and one micro-step")
    accumulate: int = Field(default=1, ge=1, description="slides per update")
    clip: float = Field(default=1e6, gt=0, description="largest gradient norm; the default never clips")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the weight average, per update; 0 is none")
    ema_warmup: bool = Field(default=False, description="let the decay grow as (1 + n) / (10 + n), n updates")
    validate_every: int = Field(default=32, ge=1, description="updates between evaluations")
    patience: int = Field(default=100, ge=1, description="evaluations without improvement before stopping")
