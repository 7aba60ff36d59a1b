"""What installed packages add: entry points ``stbench.methods``, ``.metrics``, ``.encoders`` and ``.readers``.

Names are known without an import; what stands behind one is imported when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar

from stbench.errors import DataError, UserError
from stbench.text import named

T = TypeVar("T")
Kind = Literal["method", "metric", "encoder", "reader"]


@cache
def installed(kind: Kind) -> tuple[EntryPoint, ...]:
    """Entry points of one group in the packages of this environment."""
    return tuple(point for point in _of_all_packages() if point.group == f"stbench.{kind}s")


@cache
def _of_all_packages() -> tuple[EntryPoint, ...]:
    """Looking through the environment takes 20 ms, whatever the group."""
    found = entry_points()
    return tuple(point for group in found.groups for point in found.select(group=group) if group.startswith("stbench."))


def package_of(point: EntryPoint) -> str:
    """``package NAME``."""
    return f"package {point.dist.name}" if point.dist else "an installed package"


def load_point(kind: Kind, point: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        DataError: whatever goes wrong in the import, with the name of the package.
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # foreign code: a package may fail in any way
        raise DataError(
            f"{kind} {point.name!r} of {package_of(point)}: expected to import {point.value!r}, found "
            f"{named(error)}; update or uninstall the package"
        ) from error


def load_plugin(kind: Kind, name: str) -> Any:
    """Import what an installed package registers under a name.

    Raises:
        DataError: whatever goes wrong in the import, with the name of the package.
    """
    (point,) = (point for point in installed(kind) if point.name == name)
    return load_point(kind, point)


class Registered(Mapping[str, T]):
    """Entries by name: those of this repository, then those of installed packages.

    Args:
        kind: what they are.
        built_in: those of this repository.
        make: an entry of an entry point; called when it is asked for, not when names are listed.

    Raises:
        UserError: two entries have one name.
    """

    def __init__(self, kind: Kind, built_in: Mapping[str, T], make: Callable[[EntryPoint], T]) -> None:
        self._built_in, self._make = built_in, make
        self._points: dict[str, EntryPoint] = {}
        for point in installed(kind):
            if point.name in self:
                first = package_of(self._points[point.name]) if point.name in self._points else "stbench"
                raise UserError(
                    f"two {kind}s are named {point.name!r}: expected every name once, found it in {first} and "
                    f"{package_of(point)}; uninstall one of them"
                )
            self._points[point.name] = point

    def __getitem__(self, name: str) -> T:
        return self._built_in[name] if name in self._built_in else self._make(self._points[name])

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._points

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._points

    def __len__(self) -> int:
        return len(self._built_in) + len(self._points)
