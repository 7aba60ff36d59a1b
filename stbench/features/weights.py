"""Weight files of networks: tensors only, and every entry in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stbench.errors import DataError
from stbench.features.weight_advice import advice, nested, shared_prefix
from stbench.text import first_line

if TYPE_CHECKING:
    import torch

WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict", "model")
_LISTED = 3  # entries named in an error


def weight_file(weights: Path, names: Sequence[str] = WEIGHT_NAMES) -> Path:
    """The file itself, or the first of ``names`` in a folder.

    Raises:
        DataError: there is no such file.
    """
    candidates = [weights / name for name in names] if weights.is_dir() else [weights]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(f"expected encoder weights at {' or '.join(map(str, candidates))}, found no such file")


def read_state(file: Path, wrappers: Sequence[str] = _WRAPPERS) -> dict[str, torch.Tensor]:
    """The state dict in a safetensors or torch file, without wrapping dict and without the prefix of DataParallel.

    Nothing in the file is executed: torch files are read with ``weights_only``.

    Args:
        file: the file.
        wrappers: keys under which a file may hold the state dict beside other things, in the order they are tried.

    Raises:
        DataError: the file cannot be read or holds something other than tensors.
    """
    import torch

    try:
        state = _read_tensors(file)
    except Exception as error:  # every reader fails in its own way on a damaged file
        reason = first_line(error)
        raise DataError(f"expected tensors in {file}, found an unreadable file ({reason}); fetch it again") from error
    under: tuple[str, ...] = ()
    for wrapper in wrappers:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state, under = state[wrapper], (*under, wrapper)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        found = nested(state, file, under) if isinstance(state, dict) else type(state).__name__
        raise DataError(f"expected a state dict (names to tensors) in {file}, found {found}")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _read_tensors(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(file))
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)


def load_strictly(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: Path | str, ignored: tuple[str, ...] = ()
) -> None:
    """Load a state dict none of whose entries may be missing, unexpected or misshapen.

    First parts that all names share, as training frameworks put before them (``model.``), are left out where the
    rest fits.

    Args:
        module: the network.
        state: name to tensor.
        where: the file, for the message.
        ignored: prefixes of entries the network has no use for.

    Raises:
        DataError: names the entries that do not fit.
    """
    expected = module.state_dict()
    kept, found = _fitting(expected, state, ignored)
    if found and (prefix := shared_prefix(kept)):
        bare, rest = _fitting(expected, {name.removeprefix(prefix): value for name, value in kept.items()}, ignored)
        kept, found = (kept, found) if rest else (bare, rest)
    if found:
        raise DataError(
            f"weights in {where} do not fit the architecture, found {found}; {advice(expected, kept, where)}"
        )
    module.load_state_dict(kept, strict=True)


def _fitting(
    expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], ignored: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], str]:
    """Entries the network may have a use for, and what does not fit among them."""
    kept = {name: tensor for name, tensor in state.items() if name in expected or not name.startswith(ignored)}
    return kept, misfit(expected, kept)


def misfit(
    expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], listed: int | None = _LISTED
) -> str:
    """What is missing, unexpected and misshapen in a state dict, in words; empty when it fits.

    Args:
        expected: name to tensor of the network.
        state: name to tensor of the file.
        listed: entries named of each kind, None for all.
    """
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "misshapen": [
            f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            for name, tensor in state.items()
            if name in expected and tensor.shape != expected[name].shape
        ],
    }
    return "; ".join(f"{len(names)} {kind}: {_some(names, listed)}" for kind, names in problems.items() if names)


def _some(names: list[str], listed: int | None) -> str:
    return ", ".join(names[:listed]) + (", ..." if listed is not None and len(names) > listed else "")
