"""Settings of BLEEP, free of torch. Defaults are the paper's; ``methods/bleep.toml`` holds the presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stbench.methods.nn.patch_settings import PatchSettings
from stbench.training.settings import TrainingSettings


class BleepSettings(PatchSettings, TrainingSettings):
    """BLEEP's own switches; see the differences on its card."""

    backbone: str = Field(default="resnet50", description="timm network that reads patches")
    pixels: Literal["standard", "raw-bgr"] = Field(
        default="standard",
        description="patches with timm's mean and standard deviation, or 0-255 in blue-green-red order as released",
    )
    projection_dim: int = Field(default=256, ge=1, description="width of the common space")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the projection heads")
    temperature: float = Field(default=1.0, gt=0, description="divides the logits; a constant")
    target_temperature: Literal["divide", "multiply"] = Field(
        default="divide", description="what the temperature does to the similarities behind the soft targets"
    )
    targets: Literal["projected", "one-hot"] = Field(
        default="projected", description="soft targets from the embeddings, or each spot with its own patch alone"
    )
    batch: int = Field(default=128, ge=2, description="pairs per loss; at most the training spots")
    k: int = Field(default=50, ge=1, description="spots of the bank that make a prediction; at most all of them")
    retrieval: Literal["simple", "average", "weighted_average"] = Field(
        default="average", description="the best spot, the mean of the k best, or their mean under softmax(-distance^2)"
    )
    select_by: Literal["loss", "pcc"] = Field(
        default="loss", description="weights kept: lowest loss, or best retrieval PCC, on the validation slides"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(default=1e-3, ge=0, description="weight decay of AdamW, on every parameter")
    epochs: int = Field(default=150, ge=1, description="most passes over the training spots")
    batch_windows: Literal[1] = Field(default=1, description="not used: a micro-step holds one batch")
    accumulate: int = Field(default=4, ge=1, description="losses per update; the paper averages over 4 GPUs")
    clip: float = Field(default=1e6, gt=0, description="largest gradient norm; the default never clips")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the weight average, per update; 0 is none")
    ema_warmup: bool = Field(default=False, description="let the decay grow as (1 + n) / (10 + n), n updates")
    validate_every: int = Field(default=10, ge=1, description="updates between evaluations")
    patience: int = Field(default=1000, ge=1, description="evaluations without improvement before stopping")
