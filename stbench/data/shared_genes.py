"""Whether slides name their genes alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from stbench.data.gene_names import SYMBOLS, main_kind, normalised
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.text import count, few

_ALIKE = 0.5  # of the names of the shorter list; panels of one platform for two organs share about a third


@dataclass
class _Group:
    """Slides that name their genes alike."""

    slides: list[str]
    names: set[str]


@dataclass
class SharedGenes:
    """Gene names of slides, those that share most of them together."""

    _lists: dict[str, list[int]] = field(default_factory=dict)
    _place: dict[str, int] = field(default_factory=dict)

    def add(self, slide: Slide) -> None:
        """Keep the names of a slide."""
        self._lists[slide.id] = [self._place.setdefault(gene, len(self._place)) for gene in slide.genes]

    def notes(self) -> list[str]:
        """One line per group of slides that share less than half of their gene names with most slides."""
        most, *others = self._groups() or [_Group([], set())]
        return [_differing(group, most) for group in others]

    def check(self, n_left: int, n_genes: int) -> None:
        """Raise DataError where too few genes are common to all slides because some name theirs in another way."""
        notes = self.notes()
        if n_left < n_genes and notes:
            raise DataError(
                f"expected {count(n_genes, 'gene')} that all slides name, found {n_left}: {'; '.join(notes)}; "
                "write the names of the others into its file, or leave it out: --split FILE"
            )

    def _groups(self) -> list[_Group]:
        """The largest first."""
        names = list(self._place)
        groups: list[_Group] = []
        for slide, places in sorted(self._lists.items()):
            own = {names[place] for place in places}
            group = next((one for one in groups if _share(own, one.names) >= _ALIKE), None)
            if group is None:
                groups.append(group := _Group([], set()))
            group.slides.append(slide)
            group.names |= own
        return sorted(groups, key=lambda group: -len(group.slides))


def _share(own: set[str], others: set[str]) -> float:
    return len(own & others) / max(min(len(own), len(others)), 1)


def _differing(group: _Group, most: _Group) -> str:
    shared, kinds = group.names & most.names, [main_kind(sorted(one.names)) for one in (group, most)]
    said = (
        f"{few(group.slides)}: {len(shared)} of {count(len(group.names), 'gene name')} shared with {few(most.slides)}"
    )
    if kinds[0] != kinds[1]:
        beside = f" (symbols may stand in var['{SYMBOLS}'])" if "ids" in kinds[0] else ""
        return f"{said}, as these are {kinds[0]}{beside}, those {kinds[1]}"
    own, others = ({normalised(name) for name in one.names} for one in (group, most))
    return f"{said}; they differ in case, version or hyphens" if _share(own, others) >= _ALIKE else said
