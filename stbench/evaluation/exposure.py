"""Contamination: whether the pretrained weights behind a row have seen the cohort it is scored on.

Everything is computed from a record, so that a fact learnt later is on the pages the next time they are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stbench.catalogue import DatasetCard, dataset_cards, pretrained_sheet
from stbench.catalogue.pretrained import Finding
from stbench.evaluation.record import Origin, Record
from stbench.features.encoder import TIMM
from stbench.text import listed

Mark = Literal["", "c", "C"]

PRIOR, RELEASED, BACKBONE, METHOD = "prior", "weights", "backbone_weights", "method"
TABLE = "table"  # a gene prior that no model is known of
UNKNOWN = "unknown"  # in place of a hash
_NO_ENCODER = "none"  # that of tasks, whose import takes seconds
_HASH = re.compile(r"[0-9a-f]{64}")


class Used(NamedTuple):
    """Pretrained weights behind a row: what they are of, their name, and sha256 of their file where it is known."""

    kind: str
    name: str
    digest: str | None = None


@dataclass(frozen=True)
class Scored:
    """What a row is scored on.

    Args:
        dataset: name of the cohort.
        slides: names of the slides used.
        origin: where the numbers come from.
        own: whether it is a folder of the user's, whatever it is called.
    """

    dataset: str
    slides: Sequence[str]
    origin: Origin = "real"
    own: bool = False


@dataclass(frozen=True)
class Exposure:
    """What the weights behind a row have seen of its cohort.

    Args:
        mark: ``C`` where some of them saw its slides, ``c`` where that cannot be ruled out (undisclosed, sister,
            figures), empty where it can or nothing was pretrained.
        labels: whether expression was seen; such a row is not to be ranked.
        said: the worst finding in one sentence, empty where nothing was pretrained.
        findings: of every part, the worst first.
    """

    mark: Mark
    labels: bool
    said: str
    findings: tuple[Finding, ...] = ()


def contamination(record: Record) -> Exposure:
    """What the encoder, the gene prior and the predictor of a record have seen of its cohort; the worst holds.

    Args:
        record: a record of any schema; what an older one does not say is undisclosed.
    """
    task, slides = record.task, [*record.task.train, *record.task.validation, *record.task.test]
    scored = scored_on(task.dataset, task.test_dataset, slides, task.origin, record.request)
    return exposure([used_encoder(record.encoder), *used_weights(record.settings, record.pretrained)], scored)


def scored_on(
    dataset: str, test_dataset: str, slides: Sequence[str], origin: Origin, asked: Mapping[str, Any]
) -> Scored:
    """What a row is scored on: the cohort, or another one whose slides test.

    Args:
        dataset: name of the cohort.
        test_dataset: name of the cohort that tests, empty where it is the same.
        slides: names of the slides used; those of another cohort begin with its name.
        origin: where the numbers come from.
        asked: what the user called them (``dataset``, ``test_dataset``), as far as that is known; a folder may have
            the name of a registered cohort.
    """
    name, called = (test_dataset, "test_dataset") if test_dataset else (dataset, "dataset")
    own = name not in dataset_cards() or asked.get(called) not in (None, name)
    there = [id_ for id_ in slides if id_.startswith(f"{name}-")] if test_dataset else slides
    return Scored(name, [id_.removeprefix(f"{name}-") for id_ in there], origin, own)


def exposures_in_words(rows: Mapping[str, Sequence[Used | None]], scored: Scored) -> list[str]:
    """One line per finding that leaves a mark, with the methods it holds for.

    Args:
        rows: method to the weights behind it.
        scored: what they are to be scored on.
    """
    said: dict[str, list[str]] = {}
    for name, used in rows.items():
        found = exposure(used, scored)
        if found.mark:
            unranked = "; a row with seen expression is not ranked" if found.labels else ""
            said.setdefault(f"{found.mark}: {found.said}{unranked}", []).append(name)
    return [f"{listed(names)}: {text}" for text, names in said.items()]


def exposure(used: Sequence[Used | None], scored: Scored) -> Exposure:
    """What weights have seen of a cohort.

    Nothing has seen simulated data. The features of semi-synthetic data are generated, so no encoder has seen them;
    their counts are real, so gene models and predictors count.

    Args:
        used: the weights behind a row; None for what has none.
        scored: what it is scored on.
    """
    kept = [part for part in used if part is not None and _can_have_seen(part, scored)]
    findings = sorted((_finding(part, scored) for part in kept), key=lambda one: one.severity, reverse=True)
    if not findings:
        return Exposure("", False, "")
    worst = findings[0]
    mark: Mark = "C" if worst.verdict == "saw" else "" if worst.verdict in ("no", "no*") else "c"
    return Exposure(mark, worst.labels, worst.said, tuple(findings))


def exposures_of(card: DatasetCard) -> list[list[str]]:
    """What every named release has seen of a registered cohort: its names, the verdict, the reason with its source.

    Empty for cohorts that nothing is known of and for generated ones.
    """
    sheet = pretrained_sheet()
    if not sheet.knows(card.name):
        return []
    found = [(one, sheet.as_released(one.names[0], card.name)) for one in sheet.weights if one.seen or one.on]
    return [[listed(one.names), _labelled(finding), finding.reason] for one, finding in found]


def _labelled(finding: Finding) -> str:
    return f"{finding.verdict}, expression too" if finding.labels else finding.verdict


def _can_have_seen(part: Used, scored: Scored) -> bool:
    entry = pretrained_sheet().named(part.name)
    if scored.origin == "simulated" or (entry is not None and not entry.fitted):
        return False
    return scored.origin == "real" or part.kind in ("gene model", "predictor")


def _finding(part: Used, scored: Scored) -> Finding:
    """The worst finding of the cohorts a row may be of; a name on a folder never makes anything better."""
    keys = _cohorts_of(scored)
    findings = [pretrained_sheet().of(*part, key, scored.dataset) for key in keys]
    return max(findings, key=lambda one: one.severity)


def _cohorts_of(scored: Scored) -> list[str | None]:
    sheet, cards = pretrained_sheet(), dataset_cards()
    if not scored.own:
        card = cards.get(scored.dataset)
        key = card.made_from if card is not None and card.made_from else scored.dataset
        return [key if sheet.knows(key) else None]
    ids = set(scored.slides)
    held = [name for name, card in cards.items() if not card.made_from and ids & {slide.id for slide in card.slides}]
    return [*(name for name in held if sheet.knows(name)), *sheet.cohorts_in(scored.dataset), None]


def used_encoder(key: str) -> Used | None:
    """The encoder of a key, ``name/version/hash of its weights/...``; None for none.

    Args:
        key: of :class:`stbench.features.encoder.Encoder`, as a record keeps it.
    """
    name, _, rest = key.partition("/")
    if name == _NO_ENCODER:
        return None
    digest = rest.split("/")[1] if rest.count("/") else ""
    return Used("encoder", name, _hash(digest))


def used_weights(settings: Mapping[str, Any], known: Mapping[str, str]) -> Iterator[Used]:
    """Pretrained weights that a method's settings name, and those it brings along.

    Args:
        settings: all settings of the method.
        known: what :func:`pretrained_of` said of their files; a setting it says nothing of is undisclosed.
    """
    kinds = {PRIOR: "gene model", RELEASED: "predictor", BACKBONE: "encoder", METHOD: "predictor"}
    named = {**named_by(settings), **({METHOD: ""} if METHOD in known else {})}
    for setting, name in named.items():
        found, _, digest = known.get(setting, f"{name}/{UNKNOWN}").rpartition("/")
        yield Used(kinds[setting], found, _hash(digest))


def named_by(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings that name pretrained weights, with what these are called before their files are looked at."""
    found = {}
    if str(settings.get(PRIOR)).startswith("file:"):
        found[PRIOR] = TABLE
    if settings.get(RELEASED) is not None:
        found[RELEASED] = "released"
    if settings.get(BACKBONE) not in (None, "random") and settings.get("input") != "features":
        found[BACKBONE] = f"{TIMM}{settings.get('backbone', '')}"
    return found


def _hash(text: str) -> str | None:
    return text if _HASH.fullmatch(text) else None
