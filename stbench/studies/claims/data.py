"""Whether a cohort's slides are there, and whether they are those of its card."""

from __future__ import annotations

import shlex
from pathlib import Path

from stbench.catalogue import dataset_cards, find_dataset
from stbench.data.readers import READERS
from stbench.evaluation.record import TaskFacts
from stbench.text import count

_LEAST = 0.9  # of the card's spots: readers leave single spots out, never add one


def lacking(dataset: str, data_root: Path | None) -> str:
    """Why a cohort cannot be opened and how to get it, empty where its folder is there."""
    card = find_dataset(dataset)
    if card.entry is not None:
        return ""
    folder = None if data_root is None else data_root / dataset
    if folder is not None and any(READERS[layout].recognises(folder) for layout in card.layouts):
        return ""
    place = "and no --data-root" if data_root is None else f"in {data_root}"
    return f"no slides of {dataset} {place}; get them with {fetch_of(dataset, data_root)}"


def fetch_of(dataset: str, data_root: Path | None) -> str:
    """The command that downloads a cohort as the papers used it."""
    source = ["--source", "hest"] if "hest" in find_dataset(dataset).fetch else []
    root = "DIR" if data_root is None else str(data_root)
    return shlex.join(["stbench", "datasets", "fetch", dataset, *source, "--data-root", root])


def stand_in(task: TaskFacts) -> str:
    """What the slides of a task are in place of the cohort's, empty where they may be its own.

    Simulated slides are told by what their files say, others by their number of spots.
    """
    if task.origin != "real":
        return f"{task.origin} slides"
    card = dataset_cards().get(task.dataset)
    said = {} if card is None else {name: one.n_spots for one in card.slides for name in (one.id, one.section)}
    odd = [name for name, n in task.n_spots.items() if name in said and not _LEAST * said[name] <= n <= said[name]]
    if not odd:
        return ""
    first = odd[0]
    return (
        f"{count(len(odd), 'slide')} of {len(task.n_spots)} with another number of spots than the cohort's "
        f"({first}: {task.n_spots[first]}, not {said[first]})"
    )


def share_used(task: TaskFacts) -> tuple[int, int]:
    """Slides of a task, and those of its cohort's card."""
    card = dataset_cards().get(task.dataset)
    n_used = len({*task.train, *task.validation, *task.test})
    return n_used, card.n_slides if card is not None else n_used
