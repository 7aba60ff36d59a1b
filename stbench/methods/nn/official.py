"""State dicts of released implementations, whose parameters have other names than ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.weights import misfit, read_state


def released_state(source: Path | str | Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """A state dict and what to call it in a message.

    Args:
        source: safetensors or torch file (tensors only), or the state dict itself.

    Raises:
        DataError: the file cannot be read or holds something other than tensors.
    """
    if isinstance(source, Mapping):
        return dict(source), "the state dict"
    return read_state(Path(source)), str(source)


def load_released(module: nn.Module, state: Mapping[str, Tensor], official: Mapping[str, str], where: str) -> None:
    """Load a released state dict into a port.

    Args:
        module: the port.
        state: tensor by released name.
        official: released name by our name, for every entry of the port's own state dict.
        where: the file, for the message.

    Raises:
        DataError: an entry is missing, unexpected or misshapen; names all of them.
    """
    expected = {official[ours]: tensor for ours, tensor in module.state_dict().items()}
    found = misfit(expected, state, listed=None)
    if found:
        raise DataError(f"{where}: expected the entries of the released network, found {found}")
    module.load_state_dict({ours: state[theirs] for ours, theirs in official.items()})
