"""A method from a file, with ablations on its card."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stbench.methods.base import Method

SAME = {"dataset": "simulated", "genes": 4, "preset": "small", "encoder": "mean-rgb", "split": "slide"}


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float = Field(default=1.0, gt=0, description="factor on the prediction")
    broken: bool = Field(default=False, description="fail")
    source: str = Field(default="none", description="none or file:PATH")


class Ablatable(Method):
    """Training mean plus the mean feature and noise."""

    Settings = Settings
    card = {  # noqa: RUF012
        "kind": "generative",
        "draws": 2,
        "ablations": [
            {
                "table": "A",
                "title": "parts",
                "conditions": SAME,
                "reference": "whole",
                "rows": [
                    {"label": "whole", "reported": {"pcc": 0.5, "mse": 1.0}},
                    {"label": "half", "times": {"scale": 0.5}, "reported": {"pcc": 0.25, "mse": 1.5}},
                    {"label": "broken", "settings": {"broken": True}, "reported": {"pcc": 0.125}},
                ],
            },
            {
                "table": "B",
                "title": "sources",
                "conditions": {**SAME, "genes": 200},
                "reference": "nothing",
                "rows": [
                    {"label": "nothing", "settings": {"source": "none"}, "reported": {"pcc": 0.5}},
                    {"label": "vectors", "vectors": {"source": "tiny"}, "reported": {"pcc": 0.75}},
                ],
            },
            {
                "table": "C",
                "title": "neighbours",
                "reference": "k = 8",
                "rows": [
                    {"label": "k = 3", "metrics": {"ssc": {"k": 3}}},
                    {"label": "k = 8", "metrics": {"ssc": {"k": 8}}},
                ],
            },
            {
                "table": "D",
                "title": "with vectors",
                "conditions": {**SAME, "scale": "log1p", "vectors": {"source": "tiny"}},
                "reference": "whole",
                "rows": [{"label": "whole", "reported": {"pcc": 0.5}}],
            },
        ],
    }

    def fit(self, train, validation, context):
        if self.settings.broken:
            raise ValueError("it is broken")
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)
        self.seed_ = context.seed

    def predict(self, inputs, draws, seed):
        rng = np.random.default_rng([seed, len(inputs.slide_id)])
        noise = rng.normal(size=(draws, inputs.n_spots, len(self.mean_)))
        image = inputs.features.mean(axis=1)[None, :, None]
        return (self.settings.scale * (self.mean_ + image + noise)).astype(np.float32)
