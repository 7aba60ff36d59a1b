"""Build a port from a reference file, feed it the file's inputs, compare every output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.proofs.parity import bleep, graph_diffusion, histogene, stem, stflow, triplex
from stbench.proofs.parity.data import spot_correlation, windows
from stbench.proofs.parity.networks import graph_dit, graph_model, image_dit
from stbench.proofs.parity.reference import ROUNDING, Reference, read_reference
from stbench.proofs.parity.shared import edge_attributes, metrics, time_embeddings, vesde
from stbench.proofs.parity.steps import loss, sampler, training
from stbench.text import first_line

Outputs = Mapping[str, Tensor]
COMPONENTS: Mapping[str, Mapping[str, Callable[[Reference], Outputs]]] = {
    "flag": {
        "graph_dit": graph_dit,
        "image_dit": image_dit,
        "loss": loss,
        "sampler": sampler,
        "training": training,
        "vesde": vesde,
        "edge_attributes": edge_attributes,
        "time_embeddings": time_embeddings,
        "metrics": metrics,
    },
    "graph_diffusion": {
        "graph_model": graph_model,
        "loss": graph_diffusion.loss,
        "sampler": graph_diffusion.sampler,
        "training": graph_diffusion.training,
        "edge_validation_loss": graph_diffusion.edge_validation_loss,
        "vesde": vesde,
        "edge_attributes": edge_attributes,
        "spot_correlation": spot_correlation,
        "windows": windows,
    },
    "histogene": histogene.COMPONENTS,
    "bleep": bleep.COMPONENTS,
    "stem": stem.COMPONENTS,
    "stflow": stflow.COMPONENTS,
    "triplex": triplex.COMPONENTS,
}


@dataclass(frozen=True)
class Row:
    """One output of the original.

    Args:
        name: its name.
        difference: largest absolute difference; infinite where the port gives no such output or another shape.
        largest: largest absolute value of the original.
        tolerance: largest difference that passes.
        passed: the verdict.
        note: why an unusual tolerance holds, or why there is nothing to compare.
    """

    name: str
    difference: float
    largest: float
    tolerance: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Report:
    """Every output of one file, in the order of their names."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether there are outputs and all of them pass."""
        return bool(self.rows) and all(row.passed for row in self.rows)


def compare_file(path: Path) -> Report:
    """Compare a port with one file of reference vectors; no output of the file is left out.

    Args:
        path: safetensors file as described in ``reference/README.md`` of the shared material: parameters under the
            original's names, inputs, outputs, sizes in the metadata.

    Raises:
        DataError: the file cannot be read, its component has no port, a parameter is missing, unexpected or of another
            shape, or its tensors do not fit its config.
    """
    reference = read_reference(Path(path))
    port = _port(reference)
    try:
        found = port(reference)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:  # of torch, for misfits
        reason = first_line(error)
        raise DataError(f"reference {path}: expected tensors that fit its config, found: {reason}") from error
    rows = [_row(reference, name, value, found.get(name)) for name, value in sorted(reference.outputs.items())]
    return Report(reference.path, tuple(rows))


def _port(reference: Reference) -> Callable[[Reference], Outputs]:
    known = COMPONENTS.get(reference.method, {})
    if reference.component not in known:
        ported = "; ".join(f"{method}: {', '.join(sorted(parts))}" for method, parts in sorted(COMPONENTS.items()))
        raise DataError(
            f"reference {reference.path}: component {reference.component!r} of {reference.method!r} is not ported yet; "
            f"ported are {ported}"
        )
    return known[reference.component]


def _row(reference: Reference, name: str, original: Tensor, found: Tensor | None) -> Row:
    largest = _largest(original)
    tolerance, note = _tolerance(reference, name, original, largest)
    if found is None:
        return Row(name, math.inf, largest, tolerance, False, "the port gives no such output")
    if found.shape != original.shape:
        return Row(
            name, math.inf, largest, tolerance, False, f"shape {tuple(found.shape)}, not {tuple(original.shape)}"
        )
    difference = _difference(found, original)
    return Row(name, difference, largest, tolerance, difference <= tolerance, note)


def _tolerance(reference: Reference, name: str, original: Tensor, largest: float) -> tuple[float, str]:
    if not original.is_floating_point():
        return 0.0, ""
    group, _, parameter = name.partition("/")
    if parameter not in reference.names("ill_conditioned_parameters"):
        return reference.tolerance(name, largest), ""
    if group == "grad":
        return max(ROUNDING, reference.tolerance(name, 0.0)), "ill-conditioned: zero up to rounding"
    rules = reference.setting("train_config")
    updates = reference.setting("micro_steps") // rules["gradient_accumulate_every"]
    return 2 * rules["lr"] * updates, "ill-conditioned: arbitrary within the learning rate per update"


def _largest(values: Tensor) -> float:
    finite = values.double()[torch.isfinite(values.double())]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _difference(found: Tensor, original: Tensor) -> float:
    """Largest absolute difference; NaN equals NaN and nothing else."""
    a, b = found.detach().double(), original.double()
    gaps = torch.where(torch.isnan(a) & torch.isnan(b) | (a == b), 0.0, (a - b).abs())
    return float(torch.nan_to_num(gaps, nan=math.inf).max()) if gaps.numel() else 0.0
