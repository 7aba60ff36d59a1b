"""From the tables of a method's ablations to a grid of cells."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stbench.catalogue import MethodCard, method_cards
from stbench.catalogue.ablations import Ablation
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.evaluation.plan import Plan, plan
from stbench.grids.manifest import Series
from stbench.grids.plan import GridPlan, folds_as_said, varied
from stbench.methods.registry import find_method, method_class
from stbench.priors.extract import ABOUT
from stbench.priors.models import MODELS
from stbench.reading import read_json
from stbench.reporting import SILENT, Reporter
from stbench.studies.ablation.manifest import AblationManifest, Table
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.ablation.variants import Base, Resolver
from stbench.studies.sweep.grid import check_one_fold, check_one_scale
from stbench.text import pairs

_LISTED = 5


@dataclass(frozen=True)
class AblationPlan(GridPlan):
    """A grid whose rows are the distinct runs behind the tables of a method."""

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        lines = [(name, value) for name, value in self.plan.lines() if name != "controls"]
        for table in self.tables:
            lines.append((f"table {table.table}", table.title))
            lines += [("", row.text.replace("`", "")) for row in table.rows]
        return lines

    @property
    def tables(self) -> list[Table]:
        """The tables asked for."""
        assert isinstance(self.manifest, AblationManifest)
        return self.manifest.tables


def plan_ablation(request: AblateRequest, cache_dir: Path, reporter: Reporter = SILENT) -> AblationPlan:
    """Check everything that can be checked without reading a slide.

    Raises:
        UserError: a name, a setting, a table, vectors or the split are wrong, the data are not there, or the method
            declares no ablations.
    """
    method = _the_method(request)
    card, vectors = find_method(method), pairs("--prior", request.vectors)
    chosen = _chosen(card, request.tables)
    single = plan(request, cache_dir, reporter)
    check_one_fold(single)
    check_one_scale(single)
    _check_vectors(card, vectors, single)
    ask = partial(_how_to_get_vectors, request)
    run = single.runs[0]
    resolver = Resolver(Base(card, method, request.preset, run.overrides, vectors, ask))
    tables = [resolver.table(place, ablation) for place, ablation in enumerate(card.ablations)]  # all, for their names
    asked = [table for table in tables if table.table in chosen]
    runs = dict.fromkeys(row.run for table in asked for row in table.rows if row.run is not None)
    variants = [resolver.variants[name] for name in runs]
    series = [varied(run, one.name, method, request, one.overrides) for one in variants]
    manifest = _manifest(request, card, single, series, asked, vectors)
    return AblationPlan(single, manifest, {one.name: card for one in series}, columns="seed")


def _the_method(request: AblateRequest) -> str:
    if len(request.methods) != 1:
        raise UserError(f"expected one --method, found {len(request.methods)}; see: stbench methods list")
    if len(request.genes) > 1:
        raise SettingError(f"--genes: expected one panel size, found {len(request.genes)}; use a folder for each")
    return request.methods[0]


def _chosen(card: MethodCard, asked: Sequence[str]) -> list[str]:
    known = [ablation.table for ablation in card.ablations]
    if not known:
        have = ", ".join(name for name, other in method_cards().items() if other.ablations)
        raise UserError(
            f"expected ablations on the card of {card.name}, found none; methods with some: {have}; those a paper "
            "reports stand in papers/, a class declares its own in its attribute card"
        )
    for name in asked:
        if name not in known:
            raise SettingError(f"--tables: expected tables of {card.name} ({', '.join(known)}), found {name!r}")
    return list(asked) or known


def _how_to_get_vectors(request: AblateRequest, name: str) -> str:
    if name not in MODELS:
        return f"give --prior {name}=PATH"
    words = [
        "stbench",
        "prior",
        "--model",
        name,
        *request.words(
            ("dataset", "genes", "split", "split_seed", "test_dataset", "validation_rule", "simulate", "secret")
        ),
    ]
    return f"write them with {shlex.join(words)} --weights DIR and give --prior {name}=PATH"


def _check_vectors(card: MethodCard, vectors: Mapping[str, str], single: Plan) -> None:
    """Raise UserError for a name that no row uses, a path that is not there, or vectors of another task."""
    known = _vector_names(card.ablations)
    for name, text in vectors.items():
        if name not in known:
            raise UnknownNameError(f"vectors of the ablations of {card.name}", name, known)
        path = Path(text)
        if not path.exists():
            raise SettingError(f"--prior {name}: expected a file or folder of vectors at {path}, found none")
        if (path / ABOUT).is_file():
            _check_about(name, path, single)


def _vector_names(ablations: Sequence[Ablation]) -> set[str]:
    return {name for ablation in ablations for row in ablation.rows for name in row.vectors.values()}


def _check_about(name: str, path: Path, single: Plan) -> None:
    """Vectors that ``stbench prior`` wrote belong to a cohort, a panel and training slides."""
    try:
        about: dict[str, Any] = read_json(path / ABOUT)
        found = {"dataset": about["dataset"], "genes": len(about["genes"]), "training slides": sorted(about["train"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"--prior {name}: expected what stbench prior wrote in {path / ABOUT}: {error}") from error
    wanted = {
        "dataset": single.cohort.name,
        "genes": single.request.genes[0],
        "training slides": sorted(single.split.train),
    }
    for fact, value in wanted.items():
        if found[fact] != value and not (fact == "genes" and found[fact] > value):  # panels are nested
            raise SettingError(
                f"--prior {name}: expected vectors for {fact} {_some(value)}, found {_some(found[fact])} in {path}; "
                f"write them with stbench prior and the same --dataset, --genes and --split"
            )


def _some(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ", ".join(value[:_LISTED]) + (f" ... {len(value)} in all" if len(value) > _LISTED else "")


def _manifest(
    request: AblateRequest,
    card: MethodCard,
    single: Plan,
    series: list[Series],
    tables: list[Table],
    vectors: dict[str, str],
) -> AblationManifest:
    run = single.runs[0]
    base = run.settings.model_dump(mode="json")
    defaults = method_class(card).Settings().model_dump(mode="json")
    return AblationManifest(
        request=request.dump(),
        cohort=single.cohort.name,
        secret=single.cohort.secret,
        folds=folds_as_said(single),
        series=series,
        method=request.methods[0],
        title=card.title,
        base=base,
        changed={key: value for key, value in base.items() if value != defaults.get(key)},
        overrides=dict(run.overrides),
        vectors=vectors,
        tables=tables,
    )
