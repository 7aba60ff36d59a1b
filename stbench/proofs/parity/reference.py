"""Reference vectors: what an original implementation computed, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from stbench.errors import DataError
from stbench.text import first_line

FORWARD, LONG = 1e-5, 1e-4  # of a tensor's largest value, where the file says nothing; long: gradients and many passes
ROUNDING = 1e-6  # absolute; of a loss term near zero, and of a gradient that is zero up to rounding
_GAPS = 2.5  # times the stored gap between float32 and float64: another summation order may lose as much again
_UNIT_ROUNDOFF = 2.0**-24  # of float32
_AFTER = "grad_or_param/*"  # key of the gap for trained parameters: a step is as long for small ones
_TRAINED = ("param_after/", "ema_after/")


@dataclass(frozen=True)
class Reference:
    """One file.

    Args:
        path: where it lies.
        method: name of the method.
        component: which part of it.
        config: constructor arguments and sizes of the original.
        metadata: every metadata entry, JSON decoded where it is JSON.
        tensors: by key: ``param/<original name>``, ``input/<name>``, ``output/<name>``.
    """

    path: Path
    method: str
    component: str
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def params(self) -> dict[str, Tensor]:
        """Parameters by the original's name."""
        return self._group("param/")

    @property
    def outputs(self) -> dict[str, Tensor]:
        """Outputs by name."""
        return self._group("output/")

    def input(self, name: str, default: str | None = None) -> Tensor:
        """An input, or the one named ``default`` where it is absent.

        Raises:
            DataError: neither is in the file.
        """
        for key in (name, default):
            if key is not None and f"input/{key}" in self.tensors:
                return self.tensors[f"input/{key}"]
        raise DataError(f"reference {self.path}: expected the tensor 'input/{name}', found none")

    def input_prefixes(self, name: str) -> list[str]:
        """Prefixes ``""``, ``"single/"`` ... under which an input of that name is stored."""
        keys = [key.removeprefix("input/") for key in self.tensors if key.startswith("input/")]
        return sorted(key.removesuffix(name) for key in keys if key == name or key.endswith(f"/{name}"))

    def setting(self, *keys: str) -> Any:
        """A value of the config, by the keys that lead to it.

        Raises:
            DataError: no such key.
        """
        value: Any = self.config
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                raise DataError(f"reference {self.path}: expected {'.'.join(keys)!r} in its config, found none")
            value = value[key]
        return value

    def names(self, key: str) -> set[str]:
        """A metadata list of names, empty where the file has none."""
        return set(self.metadata.get(key, []))

    def tolerance(self, name: str, largest: float) -> float:
        """Largest difference that an output may show: what the file suggests, else what float32 loses."""
        suggested = self.metadata.get("suggested_tolerance")
        if isinstance(suggested, Mapping):
            suggested = suggested.get(name.split("/")[0], suggested)
            if "rtol" in suggested:
                return float(suggested.get("atol", 0)) + float(suggested["rtol"]) * largest
        elif suggested is not None:
            return float(suggested) * largest
        relative = LONG if self.component in ("sampler", "training") or name.startswith("grad/") else FORWARD
        return max(relative * largest, self._rounding(name))

    def _rounding(self, name: str) -> float:
        stored = self.metadata.get("float32_vs_float64", {})
        if name in stored:
            return _GAPS * float(stored[name][0])
        if name.startswith("grad/"):
            return _UNIT_ROUNDOFF * self.largest_gradient
        if name.startswith(_TRAINED):
            return float(stored.get(_AFTER, [0.0])[0])
        return ROUNDING if self.component == "loss" else 0.0

    @cached_property
    def largest_gradient(self) -> float:
        """Largest entry of all stored gradients: a small gradient is a sum of terms that may be as large."""
        gradients = [value for name, value in self.outputs.items() if name.startswith("grad/") and value.numel()]
        return max((float(value.abs().max()) for value in gradients), default=0.0)

    def _group(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def read_reference(path: Path) -> Reference:
    """Read a file of reference vectors.

    Raises:
        DataError: absent, damaged, without the metadata ``method``, ``component`` and ``config``, or without outputs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            raw = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = first_line(error)
        raise DataError(f"expected reference vectors in {path}, found an unreadable file ({reason})") from error
    metadata = {key: _decoded(value) for key, value in raw.items()}
    missing = [key for key in ("method", "component", "config") if key not in metadata]
    if missing or not isinstance(metadata["config"], Mapping):
        what = ", ".join(missing) or "JSON in config"
        raise DataError(f"reference {path}: expected metadata method, component and config, found no {what}")
    if not any(key.startswith("output/") for key in tensors):
        raise DataError(f"reference {path}: expected tensors 'output/<name>', found none of {len(tensors)}")
    method, component = str(metadata["method"]), str(metadata["component"])
    return Reference(path, method, component, metadata["config"], metadata, tensors)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
