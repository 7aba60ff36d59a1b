"""Commands take their options from the fields of a request: a new option is one field."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Collection
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand

from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.request import RESULT, Option, Request
from stbench.reading import check_regular
from stbench.text import first_line, listed

CONFIG = "config"


class Grouped(TyperCommand):
    """A command whose help lists options under the headings that they name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then one section per heading, in the order in which the headings come up."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = getattr(parameter, "rich_help_panel", None) or "options"
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading.capitalize()):
                formatter.write_dl(records)


def asks(
    kind: type[Request], *, only: Collection[str] | None = None, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a request; it is called with the request first, then with its own options.

    Args:
        kind: the request.
        only: names of the fields that are asked for; all when None. The rest keep their defaults.
        without: names of fields that are not asked for.
    """
    names = [name for name in kind.options() if (only is None or name in only) and name not in without]

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(list(inspect.signature(command, eval_str=True).parameters.items())[1:])

        def called(**said: Any) -> None:
            said.pop(CONFIG, None)
            asked = {name: said.pop(name) for name in names}
            command(kind.read({name: value for name, value in asked.items() if value is not None}), **said)

        parameters = [_parameter(kind, name) for name in names]
        parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.values()]
        parameters.append(_config(kind, names))
        called.__doc__ = command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return wrap


def _parameter(kind: type[Request], name: str) -> inspect.Parameter:
    one, usual = kind.options()[name], kind.usual(name)
    coded = one.read is not None
    said = _typed(one, kind.kinds()[name])
    default = (listed(usual, ",") if usual else "") if coded else _default(usual)
    more: dict[str, Any] = {"help": one.help, "rich_help_panel": one.group, "metavar": _metavar(one, name, said)}
    if one.envvar:
        more["envvar"] = one.envvar
    if isinstance(usual, tuple) and usual and not coded:
        more["show_default"] = listed(usual)
    annotation = Annotated[said, typer.Option(*one.flags, **more)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(one: Option, name: str, said: Any) -> str | None:
    """What stands for the value: what the field says, a file, or the name in capitals; nothing for a switch."""
    if said is bool or one.metavar:
        return one.metavar
    return "PATH" if said == Path | None else name.upper().rstrip("S")


def _typed(one: Option, said: Any) -> Any:
    """The type a command line takes for a field: a text that codes it, a list, or the field's own."""
    if one.read is not None:
        return str
    return list[str] | None if get_origin(said) is tuple else said


def _default(usual: Any) -> Any:
    """What a command line takes where nothing is said; an option without a default must be given."""
    return ... if usual is MISSING else None if isinstance(usual, tuple) else usual


def _config(kind: type[Request], names: Collection[str]) -> inspect.Parameter:
    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            context.default_map = {**(context.default_map or {}), **read_config(kind, path, names)}
        return path

    more = {"callback": read, "is_eager": True, "rich_help_panel": RESULT}
    annotation = Annotated[
        Path | None, typer.Option("--config", help="TOML file of these options; words typed here win.", **more)
    ]
    return inspect.Parameter(CONFIG, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def read_config(kind: type[Request], path: Path, asked: Collection[str] | None = None) -> dict[str, Any]:
    """Options from a TOML file, under the names of flags (``split-seed``) or of fields (``split_seed``).

    Args:
        kind: the request.
        path: the file.
        asked: names of the fields that a command asks for; all when None.

    Raises:
        SettingError: no such file, no TOML, or a value of a wrong type.
        UnknownNameError: a name that is no option.
    """
    try:
        check_regular(path)
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"--config: expected TOML in {path}, found: {first_line(error)}") from error
    names = {said: name for said, name in kind.named().items() if asked is None or name in asked}
    found = {}
    for key, value in said.items():
        if key not in names:
            raise UnknownNameError(f"option in {path}", key, names)
        found[names[key]] = _as_typed(kind, names[key], value, path)
    return found


def _as_typed(kind: type[Request], name: str, value: Any, path: Path) -> Any:
    """A value as the command line would give it."""
    one, said = kind.options()[name], kind.kinds()[name]
    if one.read is not None:
        return listed(value, ",") if isinstance(value, list) else str(value)
    if get_origin(said) is tuple:
        return [str(part) for part in (value if isinstance(value, list) else [value])]
    wanted = tuple(part for part in (get_args(said) or (said,)) if part is not type(None))
    wanted += (int,) * (float in wanted)
    if not isinstance(value, str if wanted == (Path,) else wanted) or (isinstance(value, bool) and bool not in wanted):
        raise SettingError(f"--config {path}: expected {wanted[0].__name__} for {name}, found {value!r}")
    return value
