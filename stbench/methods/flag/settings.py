"""Settings of FLAG, free of torch. Defaults are the paper's (Table 5); ``methods/flag.toml`` holds the presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stbench.methods.nn.settings import GraphSettings


class FlagSettings(GraphSettings):
    """FLAG's own switches; see the differences on its card."""

    dit_layers: int = Field(default=12, ge=1, description="blocks of the gene transformer")
    dit_heads: int = Field(default=6, ge=1, description="attention heads of the gene transformer")
    mlp_ratio: float = Field(default=4.0, gt=0, description="feed-forward expansion of the gene transformer")
    gene_dim: int = Field(default=512, ge=1, description="width between spatial embedding and condition (Eq. 61)")
    graph: bool = Field(
        default=True, description="spatial graph encoder; off: each spot from its own features (Table 2)"
    )
    diffusion: bool = Field(default=True, description="off: a supervised regressor with the same network (Table 2)")
    prior: str = Field(
        default="coexpression", description="prior aligned with: none, coexpression (of genes alone) or file:PATH"
    )
    align: Literal["gene", "spot", "spot-l2"] = Field(
        default="gene",
        description="gene: each token with its gene's vector (Eq. 8); spot: the mean of the projected tokens with the "
        "spot's vector, by cosine as released; spot-l2: the projected mean of the tokens, by squared L2 (Eqs. 56-57)",
    )
    align_layer: int = Field(default=8, ge=1, description="gene-transformer block whose tokens are aligned, from 1")
    align_weight: float = Field(default=0.5, ge=0, description="weight of the alignment loss")
    time_scale: float = Field(
        default=1.0,
        gt=0,
        description="factor on the noise time before its sinusoids; 1 as released, where 3 of 4 hardly turn",
    )
    projector_dim: int = Field(default=2048, ge=1, description="width of the alignment projector")

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if self.prior != "none" and self.align_layer > self.dit_layers:
            raise ValueError(f"align_layer {self.align_layer} must not be above dit_layers {self.dit_layers}")
        if self.align != "gene" and self.prior == "coexpression":
            raise ValueError(f"align {self.align} needs vectors of spots: prior file:FOLDER, not {self.prior}")
        if self.calibrate and not self.diffusion:
            raise ValueError("calibrate needs draws: diffusion true, not false, which predicts a point")
        if self.hidden_dim % self.dit_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of dit_heads {self.dit_heads}")
        return self
