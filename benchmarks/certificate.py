"""Whether quick sampling is equal to the slow one: the certificate of what calls itself ``fast``.

Run ``OMP_NUM_THREADS=1 python benchmarks/certificate.py --out FOLDER --data-root DATA``. Every method is trained once
per cohort at preset small, then draws the validation slides with the same weights and, where the sampler allows it, the
same noise:

- passes: DPM-Solver++(2M) in 15 passes against Heun in 201, both on the same parameterisation; Stem's 50 and 25 steps
  against all 1000;
- bf16: the network under autocast against float32, with the quick sampler;
- float16: draws rounded to float16 as storage would, against those in float32.

The table holds mean differences over slides, quick minus slow, of the harness's scores of the mean of the draws (CRPS:
of the draws), and half the width of the two-sided 90 % t interval. A way is equal where that interval lies inside
+-0.01 for every score; else the row says which scores are not, and how many slides it would take if mean and spread
stayed, ``no`` where the difference itself is larger. It is a claim about these weights and slides.

Numbers of every slide and way are kept in the folder as they come: the same command goes on, and ``--methods`` and
``--cohort`` do a part of it. Slides are cut to the spots nearest their centre. No test slide of a board is drawn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from stbench.data.opening import open_dataset
from stbench.data.parts import WithoutTest
from stbench.evaluation.build import build_task
from stbench.evaluation.request import default_cache
from stbench.evaluation.task import TaskSettings
from stbench.files import write_text
from stbench.methods.base import Context, LabelledSlide, Method
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.metrics import score_slide
from stbench.process import settle

Draws = NDArray[np.float32]

SCORES = {"pcc": "PCC", "gsc": "GSC", "ssc": "SSC", "variance-ratio": "VR", "crps": "CRPS"}
BOUND, COVERAGE = 0.01, 0.9
_MOST_SLIDES = 10_000


@dataclass(frozen=True)
class Data:
    """Where the slides come from.

    Args:
        train: slides that train.
        validation: slides that are drawn, none of them a test slide of a board.
        simulate: settings of a generated cohort.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    simulate: tuple[str, ...] = ()


def _sections(*patients: int) -> tuple[str, ...]:
    return tuple(f"P{patient:02}S{section}" for patient in patients for section in (1, 2, 3))


COHORTS = {
    "simulated": Data(_sections(1, 2), _sections(3, 4), ("n_patients=4", "n_spots=120", "seed=7")),
    "her2st-semisynthetic": Data(("E1", "E2", "E3", "H1", "H2", "H3"), ("A2", "A4", "A6", "B1", "C2", "C4")),
}


@dataclass(frozen=True)
class Way:
    """One way to draw, compared with another.

    Args:
        settings: of the sampler, in place of preset small's.
        against: name of the way that counts as the truth; None for that way itself.
        of: way whose draws are rounded to float16, None where they are drawn.
    """

    settings: Mapping[str, Any]
    against: str | None = None
    of: str | None = None


_BF16 = {"precision": "bf16"}
_DPM = {"solver": "dpmpp-2m", "passes": 15}
_WINDOWS = {
    "201 passes": Way({"solver": "heun", "passes": 201}),
    "15 passes": Way(_DPM, "201 passes"),
    "bf16": Way({**_DPM, **_BF16}, "15 passes"),
    "float16": Way({}, "15 passes", of="15 passes"),
}
WAYS = {
    "flag": _WINDOWS,
    "joint-diffusion": _WINDOWS,
    "node-diffusion": _WINDOWS,
    "stem": {
        "1000 steps": Way({"steps": "1000"}),
        "50 steps": Way({"steps": "50"}, "1000 steps"),
        "25 steps": Way({"steps": "25"}, "1000 steps"),
        "bf16": Way({"steps": "50", **_BF16}, "50 steps"),
        "float16": Way({}, "50 steps", of="50 steps"),
    },
}


@dataclass(frozen=True)
class Cut:
    """Training and validation slides, and the genes."""

    train: list[LabelledSlide]
    validation: list[LabelledSlide]
    genes: tuple[str, ...]


def prepared(options: argparse.Namespace, name: str) -> Cut:
    """The slides of a cohort, cut to the spots nearest their centre."""
    data, cache = COHORTS[name], default_cache()
    cohort, card = open_dataset(name, options.data_root, data.simulate, cache, require_image=False)
    split = WithoutTest(data.train, data.validation)
    settings = TaskSettings(options.genes, encoder=card.encoder)
    task = build_task(cohort, card, settings, cache, split=split)
    given = task.given()
    parts = ([central(slide, options.spots) for slide in part] for part in given.labelled(given.inputs()))
    return Cut(*parts, tuple(task.facts.genes))


def central(slide: LabelledSlide, most: int) -> LabelledSlide:
    """A slide of the spots nearest its centre, in their order."""
    inputs = slide.inputs
    gaps = np.square(inputs.xy - inputs.xy.mean(axis=0)).sum(axis=1)
    kept = np.sort(np.argsort(gaps, kind="stable")[:most])
    array = None if inputs.array_xy is None else inputs.array_xy[kept]
    cut = replace(inputs, features=np.array(inputs.features[kept]), xy=inputs.xy[kept], array_xy=array, patches=None)
    return LabelledSlide(cut, np.array(slide.expression[kept]))


class Numbers:
    """Scores of slides and ways in one JSON file, written whole after each.

    Args:
        path: the file.
        asked: what the numbers are of; a file of other settings is refused.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self.path = path
        found = json.loads(path.read_text()) if path.is_file() else {"asked": dict(asked), "scores": {}, "seconds": {}}
        if found["asked"] != dict(asked):
            raise SystemExit(f"{path}: expected {dict(asked)}, found {found['asked']}; choose another --out")
        self.found = found

    def has(self, slide: str, ways: Mapping[str, Way]) -> bool:
        return self.found["scores"].get(slide, {}).keys() == ways.keys()

    def add(self, slide: str, way: str, scores: Mapping[str, float], seconds: float) -> None:
        self.found["scores"].setdefault(slide, {})[way] = dict(scores)
        self.found["seconds"][way] = self.found["seconds"].get(way, 0.0) + seconds

    def write(self) -> None:
        write_text(self.path, json.dumps(self.found, indent=1, sort_keys=True) + "\n")

    def of(self, way: str) -> NDArray[np.float64]:
        """(n_slides, n_scores)."""
        return np.array([[scores[way][key] for key in SCORES] for _, scores in sorted(self.found["scores"].items())])


def fitted(options: argparse.Namespace, name: str, cut: Cut, path: Path) -> Method:
    """The method at preset small, trained once and kept."""
    card = find_method(name)
    cls = method_class(card)
    if path.is_file():
        return cls.load(path)
    changes = {} if options.updates is None else {"max_updates": str(options.updates)}
    method = cls(resolve_settings(card, cls, "small", changes))
    start = time.process_time()
    method.fit(cut.train, cut.validation, Context(cut.genes))
    method.save(path)
    print(f"{path.stem}: fitted in {time.process_time() - start:.0f} s of CPU", flush=True)
    return method


def drawn(method: Method, way: Way, slide: LabelledSlide, draws: int) -> Draws:
    """(n_draws, n_spots, G) of a slide in one way; seed 0 gives every way the same noise to start from."""
    other = type(method)(method.settings.model_copy(update=way.settings))
    vars(other).update({key: value for key, value in vars(method).items() if key != "settings"})
    found: Draws = other.predict(slide.inputs, draws, 0)
    return found


def score_all(method: Method, ways: Mapping[str, Way], slide: LabelledSlide, draws: int, kept: Numbers) -> None:
    """Draw a slide in every way and keep the scores."""
    found: dict[str, Draws] = {}
    for name, way in ways.items():
        start = time.process_time()
        rounded = found[way.of].astype(np.float16).astype(np.float32) if way.of else None
        found[name] = drawn(method, way, slide, draws) if rounded is None else rounded
        seconds = time.process_time() - start
        mean = found[name].mean(axis=0, dtype=np.float64).astype(np.float32)
        scores = score_slide(slide.expression, mean, slide.inputs.xy, draws=found[name], names=list(SCORES))
        kept.add(slide.inputs.slide_id, name, {key: float(value) for key, value in scores.items()}, seconds)
    kept.write()


def measured(options: argparse.Namespace, name: str, cohort: str, cut: Cut | None) -> tuple[Numbers, Cut | None]:
    """Numbers of a method on a cohort, those that lack made now."""
    asked = {key: getattr(options, key) for key in ("genes", "spots", "updates", "draws")}
    path = options.out / f"{cohort}-{name}.json"
    kept, data, ways = Numbers(path, asked), COHORTS[cohort], WAYS[name]
    todo = [slide for slide in data.validation if not kept.has(slide, ways)]
    if not todo or options.table:
        return kept, cut
    cut = cut or prepared(options, cohort)
    method = fitted(options, name, cut, path.with_suffix(".safetensors"))
    for slide in cut.validation:
        if slide.inputs.slide_id in todo:
            score_all(method, ways, slide, options.draws, kept)
            print(f"{path.stem}: {slide.inputs.slide_id} drawn", flush=True)
    return kept, cut


def half_width(spread: float, n: int) -> float:
    """Half of the two-sided t interval of a mean of n values with a sample standard deviation."""
    return float(stats.t.ppf(0.5 + COVERAGE / 2, n - 1)) * spread / n**0.5


def slides_needed(mean: float, spread: float) -> str:
    """Slides from which the interval would lie inside the bound, mean and spread given."""
    if abs(mean) >= BOUND:
        return "no"
    enough = (n for n in range(2, _MOST_SLIDES) if abs(mean) + half_width(spread, n) <= BOUND)
    return f"{n} slides" if (n := next(enough, 0)) else f"over {_MOST_SLIDES} slides"


def row(name: str, cohort: str, kept: Numbers, way: str, against: str) -> str:
    """A line of the table: differences, verdict, and how many times less CPU time drawing took."""
    differences = kept.of(way) - kept.of(against)
    means, spreads, n = differences.mean(axis=0), differences.std(axis=0, ddof=1), len(differences)
    halves = [half_width(spread, n) for spread in spreads]
    cells = [f"{mean:+.4f} ± {half:.4f}" for mean, half in zip(means, halves, strict=True)]
    lacking = [
        f"{title}: {slides_needed(mean, spread)}"
        for title, mean, spread, half in zip(SCORES.values(), means, spreads, halves, strict=True)
        if abs(mean) + half > BOUND
    ]
    seconds = kept.found["seconds"]
    gain = f"{seconds[against] / seconds[way]:.1f}" if WAYS[name][way].of is None else "-"
    verdict = "equal" if not lacking else "; ".join(lacking)
    return f"| {name} | {cohort}, {n} | {way} : {against} | {' | '.join(cells)} | {gain} | {verdict} |"


def table(found: Sequence[tuple[str, str, Numbers]]) -> None:
    """Print the certificate."""
    print(f"\n| method | cohort, slides | way | {' | '.join(SCORES.values())} | times quicker | inside ±{BOUND} |")
    print("| --- | --- | --- |" + " ---: |" * (len(SCORES) + 1) + " --- |")
    for name, cohort, kept in found:
        if len(kept.found["scores"]) < 2:
            continue
        for way, rule in WAYS[name].items():
            if rule.against is not None:
                print(row(name, cohort, kept, way, rule.against), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where fitted methods and numbers are kept")
    parser.add_argument("--data-root", type=Path, help="folder that holds her2st/")
    parser.add_argument("--methods", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    parser.add_argument("--cohort", nargs="+", choices=COHORTS, default=list(COHORTS), metavar="NAME")
    parser.add_argument("--updates", type=int, help="optimiser updates; preset small's when left out")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--genes", type=int, default=50)
    parser.add_argument("--spots", type=int, default=120, help="most spots of a slide, those nearest its centre")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    options = parser.parse_args()
    settle()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    for cohort in options.cohort:
        cut: Cut | None = None
        for name in options.methods:
            kept, cut = measured(options, name, cohort, cut)
            found.append((name, cohort, kept))
    table(found)


if __name__ == "__main__":
    main()
