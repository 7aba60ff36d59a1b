"""State dicts of released implementations, whose parameters have other names than ours."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.weights import misfit, read_state, weight_file

_WRAPPERS = ("ema", "model", "state_dict")  # averaged weights first: they are what released code predicts with


def released_state(source: Path | str | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """A released state dict and what to call it in a message.

    Args:
        source: safetensors or torch file, a folder that holds one, or the state dict itself. A training checkpoint may
            wrap it; nothing in a file is executed.

    Raises:
        DataError: there is no such file, it cannot be read, or it holds something other than tensors.
    """
    if isinstance(source, Mapping):
        return dict(source), "the state dict"
    if not Path(source).exists():
        raise DataError(f"expected released weights at {source}, found no such file; check the setting weights")
    file = weight_file(Path(source))
    with torch.serialization.safe_globals([argparse.Namespace]):  # released checkpoints keep their arguments
        return read_state(file, _WRAPPERS), f"released weights {file}"


def load_released(
    module: nn.Module,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    where: str,
    *,
    panel: str | None = None,
    hint: str = "set the sizes it was trained with",
) -> None:
    """Fill a port with a released state dict.

    Args:
        module: the port.
        state: tensor by released name.
        names: released name by our name, for every entry of the port that a release holds.
        where: what the tensors are of, for the message.
        panel: released name of an entry with a row per gene, by which another panel is told in words.
        hint: what to do next where they do not fit.

    Raises:
        DataError: an entry is missing, unexpected or misshapen; names all of them.
    """
    own = module.state_dict()
    expected = {theirs: own[ours] for ours, theirs in names.items()}
    if panel is not None and panel in state:
        _check_panel(panel, len(expected[panel]), state[panel], where)
    found = misfit(expected, state, listed=None)
    if found:
        raise DataError(f"{where}: expected the entries of the released network, found {found}; {hint}")
    module.load_state_dict({ours: state[theirs].detach() for ours, theirs in names.items()}, strict=False)


def _check_panel(entry: str, n_genes: int, rows: Tensor, where: str) -> None:
    if rows.ndim and len(rows) != n_genes:
        raise DataError(
            f"{where}: expected a panel of {n_genes} genes as in this task, found weights for {len(rows)} genes "
            f"({entry}); run with --genes {len(rows)} and the panel they were trained on"
        )


def matrix_shape(state: Mapping[str, Tensor], name: str, default: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a matrix of a state dict; ``default`` where there is none: loading then names it."""
    known = state.get(name)
    return default if known is None or known.ndim != 2 else (known.shape[0], known.shape[1])
