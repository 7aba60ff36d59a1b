"""What to do about a weight file that does not fit: the last part of a message, which works when typed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

from stbench.text import few, listed

_LAYER_SCALE = re.compile(r"(?:^|\.)(?:ls\d?|layer_scale\d?)\.(?:gamma|lambda1)$|(?:^|\.)gamma_[12]$")


def advice(expected: Collection[str], found: Collection[str], file: Path | str) -> str:
    """What to do where entries of a file (``found``) are not those of the network (``expected``), by their names."""
    if not any(map(_LAYER_SCALE.search, found)) or any(map(_LAYER_SCALE.search, expected)):
        return "check the architecture's name"
    return (
        "the file is of a network with layer scale; name the published encoder (--encoder uni, say: stbench encode "
        f"--list), or put the publisher's config.json with its model_args beside {Path(file).name}"
    )


def nested(state: Mapping[str, Any], file: Path, under: Sequence[str] = ()) -> str:
    """What a file holds in place of a state dict, and how to take the part with the tensors, where there is one.

    Args:
        state: what was found.
        file: the file.
        under: keys that lead to it from the file's top.
    """
    tensors = {str(key): part for key, part in state.items() if isinstance(part, dict) and part and _all_tensors(part)}
    said = f"the keys {few(sorted(map(str, state)))} {f'under {listed(under)}' if under else 'at its top'}"
    if not tensors:
        return said
    key = next((name for name in ("teacher", "ema", "model_ema") if name in tensors), sorted(tensors)[0])
    prefix = shared_prefix(tensors[key])
    return (
        f"{said}; to write a file of {listed(sorted(tensors), ' or ')} alone: {_rewritten(file, (*under, key), prefix)}"
    )


def shared_prefix(names: Collection[str]) -> str:
    """The first parts that all names share, with their dots; empty where there are none."""
    shared = commonprefix(list(names))  # noqa: RUF071  cut at the last dot
    return shared[: shared.rfind(".") + 1]


def _all_tensors(part: Mapping[str, Any]) -> bool:
    import torch

    return all(isinstance(value, torch.Tensor) for value in part.values())


def _rewritten(file: Path, keys: Sequence[str], prefix: str) -> str:
    """A command that writes the part of a torch file under some keys as safetensors, its entries without a prefix."""
    path, out = (json.dumps(str(name)) for name in (file, file.with_name(f"{file.stem}-{keys[-1]}.safetensors")))
    part = "".join(f"[{json.dumps(key)}]" for key in keys)
    read = f's = torch.load({path}, map_location="cpu", weights_only=True){part}'
    save = f"st.save_file({{k.removeprefix({json.dumps(prefix)}): v.clone() for k, v in s.items()}}, {out})"
    return f"python -c {shlex.quote(f'import torch, safetensors.torch as st; {read}; {save}')}"
