"""Settings of the training loop, free of torch so that cards and the command line can read them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingSettings(BaseModel):
    """How a torch method is trained; every method with a module takes these beside its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lr: float = Field(default=1e-4, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(default=0.01, ge=0, description="weight decay of AdamW, on every parameter")
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="learning rate after the warm-up")
    warmup_updates: int = Field(default=0, ge=0, description="updates over which the learning rate rises linearly")
    epochs: int = Field(default=1000, ge=1, description="most passes over the training windows")
    max_updates: int | None = Field(default=None, ge=1, description="most optimiser updates; None leaves it to epochs")
    batch_windows: int = Field(default=1, ge=1, description="windows per micro-step")
    accumulate: int = Field(default=16, ge=1, description="micro-steps per update")
    accumulate_rule: Literal["mean", "sum"] = Field(default="mean", description="how micro-step losses add up")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    clip_rule: Literal["update", "micro"] = Field(
        default="update", description="clip once per update, or after every backward on the running sum (as released)"
    )
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the weight average, per update")
    ema_warmup: bool = Field(default=True, description="let the decay grow as (1 + n) / (10 + n), n updates")
    validate_every: int = Field(default=200, ge=1, description="updates between evaluations")
    patience: int = Field(default=20, ge=1, description="evaluations without improvement before stopping")
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto", description="auto: bfloat16 autocast on GPUs that have it, float32 elsewhere"
    )
