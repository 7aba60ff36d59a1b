"""Settings of STFlow, free of torch. Defaults are the paper's; ``methods/stflow.toml`` holds the presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stbench.methods.calibration import SamplerSettings
from stbench.training.settings import TrainingSettings


class StFlowSettings(SamplerSettings, TrainingSettings):
    """STFlow's network, prior and sampler, and the training rules it was released with."""

    hidden_dim: int = Field(default=128, ge=4, description="width of a spot's token")
    edge_dim: int = Field(default=128, ge=4, description="width of a neighbour pair's embedding")
    layers: int = Field(default=4, ge=1, description="blocks of the network")
    heads: int = Field(default=4, ge=1, description="attention heads")
    neighbours: int = Field(default=8, ge=1, description="nearest spots each spot attends to")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout of the maps")
    attention_dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout of the attention weights")
    output_dropout: bool = Field(
        default=True, description="drop predicted values themselves in training, as released; off: hidden ones only"
    )
    activation: Literal["swiglu", "gelu", "relu"] = Field(default="swiglu", description="nonlinearity of the maps")
    ties: Literal["shared", "index"] = Field(
        default="shared",
        description="equally near neighbours: attend to all of them, or to the first ones in the order of the slide",
    )
    tie_width: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="shared ties: distance, in neighbourhood radii, over which weights fall to 0",
    )
    frames: Literal["blended", "axes"] = Field(
        default="blended",
        description="round neighbourhoods: fall back on a circle average, or take whatever axes come out, as released",
    )
    frame_gap: float = Field(
        default=0.02, gt=0, le=1, description="blended frames: elongation from which the axes are used alone"
    )
    edge_distance: bool = Field(default=False, description="give the edge map the plain distance too, as released")
    layer_expression: Literal["noisy", "previous"] = Field(
        default="noisy",
        description="expression that later blocks compare: the noisy one, or the previous block's output as released",
    )
    time_scale: float = Field(
        default=1.0, gt=0, description="factor on the flow time before its sinusoids; 1 as released"
    )
    prior: Literal["zinb", "gaussian", "zero"] = Field(default="zinb", description="where the flow starts")
    prior_fit: Literal["training", "fixed"] = Field(
        default="training", description="zinb parameters: per gene from the training slides, or the three numbers below"
    )
    prior_total_count: float = Field(default=1.0, gt=0, description="fixed zinb: theta")
    prior_logits: float = Field(default=0.1, description="fixed zinb: ln of mean / theta")
    prior_zi_logit: float = Field(default=0.0, description="fixed zinb: logit of the excess zeros")
    refinement_steps: int = Field(default=4, ge=1, description="network evaluations per draw")
    validation_draws: int = Field(default=1, ge=1, description="draws averaged in validation")
    clip_negative: bool = Field(default=False, description="set negative predictions to 0, draw by draw")
    visits: int = Field(default=10, ge=1, description="patch sets of every training slide in an epoch")
    set_spots: int | None = Field(default=None, ge=1, description="most spots of a patch set; None: the whole slide")
    standardize_features: bool = Field(
        default=True, description="z-score features with training statistics, clipped to 5; off as released"
    )
    feature_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of image features dropped in training")
    validate_each_epoch: bool = Field(
        default=True, description="evaluate after every epoch; off: every validate_every updates"
    )
    weights: str | None = Field(
        default=None, description="file of a released state dict (safetensors or torch) to take instead of training"
    )
    lr: float = Field(default=5e-4, gt=0, description="learning rate of Adam")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay, on every parameter")
    epochs: int = Field(default=100, ge=1, description="most epochs, each of visits patch sets per training slide")
    batch_windows: int = Field(default=2, ge=1, description="patch sets per micro-step")
    accumulate: int = Field(default=1, ge=1, description="micro-steps per update")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the weight average, per update; 0: none")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for name, width in (("hidden_dim", self.hidden_dim), ("edge_dim", self.edge_dim)):
            if width % self.heads:
                raise ValueError(f"{name} {width} must be a multiple of heads {self.heads}")
            if self.activation == "swiglu" and width % 2:
                raise ValueError(f"{name} {width} must be even for activation swiglu")
        if self.calibrate and self.prior == "zero":
            raise ValueError("calibrate needs draws that differ: prior zinb or gaussian, not zero")
        return self
