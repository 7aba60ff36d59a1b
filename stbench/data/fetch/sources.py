"""From a cohort's card to the source its files come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stbench.catalogue import DatasetCard
from stbench.data.fetch.github import GithubSource
from stbench.data.fetch.hub import HubSource
from stbench.data.fetch.plan import Source
from stbench.errors import SettingError, UnknownNameError

HEST, STUDY = "hest", "study"


def choose_source(
    card: DatasetCard, kind: str | None, slides: Sequence[str], folder: Path
) -> tuple[Source, list[str], str]:
    """The source, and the slides under the names it has for them.

    Args:
        card: the cohort's card.
        kind: ``hest`` or ``study``, the card's first when None.
        slides: ids or section names asked for; all of the card when empty.
        folder: the cohort's folder, for messages.

    Returns:
        Source, names of the slides, and the kind chosen.

    Raises:
        SettingError: the card names no source.
        UnknownNameError: a source or slide the card does not name.
    """
    if not card.fetch:
        raise SettingError(f"{card.name}: expected a source to fetch from, found none; see: stbench datasets show")
    kind = kind or next(iter(card.fetch))
    if kind not in card.fetch:
        raise UnknownNameError(f"source of {card.name}", kind, card.fetch)
    chosen = [entry for entry in card.slides if not slides or {entry.id, entry.section} & set(slides)]
    known = {name for entry in card.slides for name in (entry.id, entry.section) if name}
    for name in slides:
        if name not in known:
            raise UnknownNameError(f"slide of {card.name}", name, known)
    address = card.fetch[kind]
    if kind == HEST:
        hint = f"put st/, patches/ and metadata/ of these slides into {folder} by hand"
        return HubSource(address, hint), [entry.id for entry in chosen], kind
    repository, _, commit = address.partition("@")
    return GithubSource(repository, commit), [entry.section for entry in chosen], kind
