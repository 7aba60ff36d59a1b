"""Dictionaries that gene models ship as pickles or JSON, read without executing anything in them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stbench.errors import DataError
from stbench.reading import check_regular, read_json

_LARGEST_BYTES = 50 * 2**20
_ALLOWED = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
}


class _Unpickler(pickle.Unpickler):
    """Builds plain containers, text, numbers and NumPy scalars; every other name in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes the bytes of a NumPy scalar
            return _latin1
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refused {module}.{name}")
        return super().find_class(module, name)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused encoding {encoding}")
    return text.encode("latin1")


def read_dictionary(path: Path) -> dict[str, Any]:
    """A dictionary with text keys from a ``.json`` or ``.pkl`` / ``.pickle`` file.

    Raises:
        DataError: absent, above 50 MB, damaged, no such dictionary, or a pickle that names anything but NumPy scalars
            (nothing of it is executed).
    """
    try:
        check_regular(path)
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise DataError(f"expected a dictionary of at most 50 MB in {path}, found {size / 2**20:.0f} MB")
        if path.suffix == ".json":
            found = read_json(path)
        else:
            with path.open("rb") as stream:
                found = _Unpickler(stream).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"expected a dictionary in {path}, found: {reason}; obtain the file again") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise DataError(f"expected a dictionary with text keys in {path}, found {type(found).__name__}")
    return found


def read_numbers(path: Path) -> dict[str, float]:
    """A dictionary of finite numbers, NumPy scalars made plain.

    Raises:
        DataError: as :func:`read_dictionary`, or a value that is no finite number.
    """
    numbers = {}
    for key, value in read_dictionary(path).items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool | str | bytes) or not math.isfinite(number):
            raise DataError(f"expected finite numbers in {path}, found {value!r} for {key!r}")
        numbers[key] = number
    return numbers


def read_ids(path: Path, size: int) -> dict[str, int]:
    """A vocabulary: unique whole numbers from 0 to ``size`` - 1.

    Raises:
        DataError: as :func:`read_numbers`, or an id that is no whole number, given twice or outside the table.
    """
    ids = {key: int(value) for key, value in whole(read_numbers(path), path).items()}
    outside = [key for key, value in ids.items() if not 0 <= value < size]
    if outside:
        raise DataError(f"expected ids below {size} in {path}, found {ids[outside[0]]} for {outside[0]!r}")
    if len(set(ids.values())) < len(ids):
        raise DataError(f"expected every id once in {path}, found {len(ids) - len(set(ids.values()))} repeated")
    return ids


def whole(numbers: Mapping[str, float], path: Path) -> Mapping[str, float]:
    """The numbers, if all are whole.

    Raises:
        DataError: one is not.
    """
    broken = [key for key, value in numbers.items() if value != int(value)]
    if broken:
        raise DataError(f"expected whole numbers in {path}, found {numbers[broken[0]]} for {broken[0]!r}")
    return numbers


def read_names(path: Path) -> dict[str, str]:
    """A dictionary from text to text.

    Raises:
        DataError: as :func:`read_dictionary`, or a value that is no text.
    """
    names = read_dictionary(path)
    broken = [key for key, value in names.items() if not isinstance(value, str)]
    if broken:
        raise DataError(f"expected text in {path}, found {names[broken[0]]!r} for {broken[0]!r}")
    return names
