"""Methods that are tuned in tests."""

from pydantic import BaseModel, ConfigDict

from stbench.methods.base import Method
from stbench.methods.controls.ridge import Ridge

KNOBS = {
    "alpha": {"low": 0.1, "high": 1e4, "log": True, "why": "the penalty"},
    "clip": {"low": 1.0, "high": 9.0, "why": "the largest z-score"},
}


class Stiff(Ridge):
    """Ridge as a method, quick to fit."""

    card = {"kind": "discriminative", "needs": ["features"], "search": {"knobs": KNOBS}}  # noqa: RUF012


class Fails(Stiff):
    """Fails for one of two reasons."""

    def fit(self, train, validation, context):
        raise ValueError("three is no number" if self.settings.clip == 5.0 else "four is no number")


class FailsFirst(Stiff):
    """Fails with the preset's own settings alone."""

    def fit(self, train, validation, context):
        if self.settings.clip == 5.0:
            raise ValueError("five is no number")
        super().fit(train, validation, context)


class Unknown(Stiff):
    """Names a knob that it does not have."""

    card = {"search": {"knobs": {"stiffness": KNOBS["alpha"]}}}  # noqa: RUF012


class TooWide(Stiff):
    """Does not accept the lower end of its own range."""

    card = {"search": {"knobs": {"clip": {"low": -1.0, "high": 9.0, "why": "the largest z-score"}}}}  # noqa: RUF012


class NoMetric(Stiff):
    """Is tuned by what is no metric."""

    card = {"search": {"objective": "beauty", "knobs": KNOBS}}  # noqa: RUF012


class NoRange(Stiff):
    """Has a card that says no range."""

    card = {"search": {"knobs": {"clip": {"low": 9.0, "high": 1.0, "why": "the largest z-score"}}}}  # noqa: RUF012


class NoSettings(BaseModel):
    """None."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Untuned(Method):
    """Has no space."""

    Settings = NoSettings

    def fit(self, train, validation, context):
        """Learns nothing."""

    def predict(self, inputs, draws, seed):
        raise NotImplementedError
