"""What a method reads of a spot, its picture or cached features, free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RANDOM = "random"  # weights of a network that starts from none


class PatchSettings(BaseModel):
    """The input of a method that can read either the picture around a spot or the features of the task's encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Literal["patches", "features"] = Field(
        default="patches", description="the picture around each spot, or the features of the task's encoder"
    )
    patch_px: int = Field(default=224, ge=8, description="pixels a patch's side is brought to (input patches)")
    backbone_weights: str | None = Field(
        default=None,
        description="local weight file of the backbone, or random to start from none; nothing is ever downloaded",
    )
    backbone_trained: bool = Field(default=True, description="train the backbone with the method; off: frozen")
    augment: bool = Field(default=True, description="flip and turn patches at random in training (trained backbones)")
    weights: str | None = Field(
        default=None, description="file of a released state dict to predict with; nothing is trained then"
    )
    standardize_features: bool = Field(
        default=True, description="z-score cached features with training statistics, clipped to 5; off as released"
    )
