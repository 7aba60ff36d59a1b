"""The checkpoint of a training: written whole, sealed, and begun without where it is not what was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from stbench.errors import DataError
from stbench.files import check_seal, seal, whole
from stbench.reporting import Reporter
from stbench.text import first_line

CHECKPOINT = "training.pt"


class Stateful(Protocol):
    """A module or an optimiser."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, tensors and plain values.

    Raises:
        UserError: it cannot be written.
    """
    with whole(path, also=(RuntimeError,)) as part:  # what torch makes of a full disk
        torch.save(dict(state), part)
        seal(part)


def read_checkpoint(
    path: Path, parts: Mapping[str, Stateful], device: str, reporter: Reporter
) -> dict[str, Any] | None:
    """Read a state and fill parts with what stands under their names.

    Args:
        path: an existing file.
        parts: what takes its state from the checkpoint.
        device: where its tensors go.
        reporter: told where the file is not what was written.

    Returns:
        The state; None where the file is not what was written, so that training begins anew.

    Raises:
        DataError: it was written of something else.
    """
    try:
        check_seal(path)
    except DataError as error:
        reporter.info(f"expected a training checkpoint in {path}, found {error}; training begins anew")
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except Exception as error:  # torch raises half a dozen types for damaged files
        first = first_line(error)
        raise DataError(f"expected a training checkpoint in {path}, found {first}; delete it to start anew") from error
    return state
