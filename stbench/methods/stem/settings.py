"""Settings of Stem, free of torch. Defaults are the paper's; ``methods/stem.toml`` holds the presets."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from stbench.methods.calibration import SamplerSettings
from stbench.methods.nn.discrete import kept_steps
from stbench.methods.nn.patch_settings import PatchSettings
from stbench.training.settings import TrainingSettings

NO_CLIP = 1e9  # infinity, but JSON has none

Spacing = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class StemSettings(SamplerSettings, PatchSettings, TrainingSettings):
    """Stem's switches; see the differences on its card."""

    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW, on every parameter")
    epochs: int = Field(default=1_000_000, ge=1, description="most passes over the training spots")
    max_updates: int | None = Field(
        default=250_000, ge=1, description="most optimiser updates; None leaves it to epochs"
    )
    batch_windows: int = Field(default=32, ge=1, description="spots per micro-step: each is a window of its own")
    accumulate: int = Field(default=8, ge=1, description="micro-steps per update")
    clip: float = Field(default=NO_CLIP, gt=0, description="largest gradient norm; the default never clips")
    ema: float = Field(default=0.9999, ge=0, lt=1, description="decay of the weight average, per update")
    validate_every: int = Field(default=25_000, ge=1, description="updates between evaluations")

    input: Literal["patches", "features"] = Field(
        default="features", description="features of the task's encoder, or the picture around each spot"
    )
    backbone: str = Field(
        default="vit_base_patch16_224",
        description="timm network that encodes patches, frozen as in Stem (input patches)",
    )
    backbone_trained: Literal[False] = Field(default=False, description="the backbone never learns in Stem")
    augment: bool = Field(default=True, description="train on turned and mirrored patches as well (input patches)")
    views: int = Field(
        default=7, ge=1, le=7, description="how many of the 7 turned and mirrored patches of each spot are added"
    )

    hidden_dim: int = Field(default=384, ge=8, description="width of tokens and condition")
    dit_layers: int = Field(default=12, ge=1, description="blocks of the gene transformer")
    dit_heads: int = Field(default=6, ge=1, description="attention heads of the gene transformer")
    mlp_ratio: float = Field(default=4.0, gt=0, description="feed-forward expansion of the gene transformer")
    schedule_steps: int = Field(default=1000, ge=25, description="noise levels the network is trained on")
    prediction: Literal["epsilon", "velocity"] = Field(
        default="epsilon", description="what the first output means: the noise, or sqrt(a) noise - sqrt(1 - a) clean"
    )
    sampler: Literal["ddpm", "ddim"] = Field(
        default="ddpm", description="with noise at every step, or the deterministic flow (with eta 0)"
    )
    eta: float = Field(default=0.0, ge=0, le=1, description="share of DDPM's noise in sampler ddim")
    steps: Spacing = Field(
        default="50",
        description="sampling steps: 50 evenly spread, 10,10,10 in equal sections, ddim50 by a whole stride; 1000: all",
    )
    validation_steps: Spacing = Field(default="20", description="the same in validation")
    validation_draws: int = Field(default=1, ge=1, description="draws averaged in validation")
    standardize_expression: bool = Field(
        default=False, description="diffuse z-scores of each gene (training statistics) instead of the task's scale"
    )
    feature_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of image features dropped in training")
    drop_empty_spots: bool = Field(default=True, description="leave out training spots without any panel count")
    last_batch: Literal["keep", "drop"] = Field(
        default="keep", description="what becomes of the spots of an epoch that do not fill a batch; drop as released"
    )
    clip_negative: bool = Field(default=False, description="set negative predictions to 0, draw by draw")

    @field_validator("steps", "validation_steps")
    @classmethod
    def _kept(cls, spacing: str, info: ValidationInfo) -> str:
        if "schedule_steps" in info.data:  # absent where it is itself refused
            kept_steps(spacing, info.data["schedule_steps"])
        return spacing

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden_dim % self.dit_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of dit_heads {self.dit_heads}")
        return self
