"""Sound cohorts in every layout, one damaged place in them, and what becomes of it in ``check`` and in ``run``.

A mutation makes a file impossible, not merely other: a count of 4 in place of 3 can be told by nobody.
"""

import gzip
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import psutil

from stbench.data.audit import audit
from stbench.data.opening import open_folder
from stbench.errors import UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.plan import plan
from stbench.evaluation.request import Request
from stbench.evaluation.run import run_method
from stbench.evaluation.worker import work

from ..data import layouts, ranger_forms

SLIDES = ("A1", "B1", "C1", "D1")
CLEAN, TRACEBACK, SILENT, HANG, CRASH = "clean", "traceback", "silent wrong", "hang", "crash"
VERDICTS = (CLEAN, TRACEBACK, SILENT, HANG, CRASH)
_SECONDS = 120  # of the wall, on a machine that does other things too
_BYTES = 2**31  # more than a sound cohort takes
_GENES = [f"G{i}" for i in range(8)]
_ARRAY = [(x, y) for x in range(2, 6) for y in range(5, 9)]


def _counts(seed):
    return layouts.counts(seed, len(_ARRAY), len(_GENES))


def _her2st(root):
    for seed, name in enumerate(SLIDES):
        layouts.write_her2st(root, name, _counts(seed), array=_ARRAY, genes=_GENES, seed=seed)


def _hest(root):
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    array = np.array(_ARRAY)
    for seed, name in enumerate(SLIDES):
        obs = pd.DataFrame(
            {"in_tissue": True, "array_row": array[:, 0], "array_col": array[:, 1]},
            index=[f"{x:03d}x{y:03d}" for x, y in _ARRAY],
        )
        adata = anndata.AnnData(csr_matrix(_counts(seed)), obs=obs, obsm={"spatial": (array - 1.0) * 20})
        adata.var_names = _GENES
        layouts.write_hest(root, name, adata, patches=range(len(_ARRAY)), patient=name[0], seed=seed)


def _spaceranger(root):
    barcodes = [f"AAAC{i:012d}-1" for i in range(16)]
    for seed, name in enumerate(SLIDES):
        layouts.write_spaceranger(root, name, layouts.counts(seed, 8, len(_GENES)), genes=_GENES)
        matrix = layouts.counts(seed, 16, len(_GENES))
        layouts.write_matrix(root / name / "filtered_feature_bc_matrix.h5", matrix, _GENES, barcodes)
        positions = layouts.visium(barcodes)
        positions.to_csv(root / name / "spatial/tissue_positions_list.csv", header=False, index=False)


def _st(root):
    ids = [f"ENSMUSG{i:011d}.{i}" for i in range(1, 9)]
    for seed, name in enumerate(SLIDES):
        layouts.write_st(root, name, layouts.counts(seed, len(layouts.STAGGERED), len(ids)), ids=ids, seed=seed)
    (root / "scale.json").write_text(json.dumps({"pitch_um": 150}))


def _geo(root):
    """Output of Space Ranger as GEO gives it: one folder, counts in Matrix Market form, everything packed."""
    _spaceranger(root)
    for name in SLIDES:
        ranger_forms.market(root / name)
    ranger_forms.flat(root)


def _h5ad(root):
    """Two files of one slide each, and one of two."""
    barcodes = [f"AAAC{i:012d}-1" for i in range(16)]
    made = {name: layouts.visium_adata(seed, name, barcodes, _GENES) for seed, name in enumerate(SLIDES)}
    for name in SLIDES[:2]:
        made[name].write_h5ad(root / f"{name}.h5ad")
    layouts.joined({name: made[name] for name in SLIDES[2:]}).write_h5ad(root / "rest.h5ad")


def _spatialdata(root):
    """A store of every slide, Visium's array on a picture; needs the extra ``spatialdata``."""
    from ..data import test_readers_spatialdata as stores

    spots, columns, rows, _ = stores.grid(4)
    for seed, name in enumerate(SLIDES):
        counts = layouts.counts(seed, len(spots), len(_GENES))
        said = stores.table(counts, spots, genes=_GENES, array_col=columns, array_row=rows, in_tissue=1)
        shapes = stores.circles(stores.grid(4)[3], spots)
        parts = {"images": {"he": stores.image()}, "shapes": {"spots": shapes}, "tables": {"table": said}}
        stores.write(stores.spatialdata.SpatialData(**parts), root / f"{name}.zarr")


COHORTS = {
    "her2st": _her2st,
    "hest": _hest,
    "spaceranger": _spaceranger,
    "geo": _geo,
    "st": _st,
    "h5ad": _h5ad,
    "spatialdata": _spatialdata,
}


@dataclass(frozen=True)
class Tried:
    """One mutation: what was done to which file, how it ended, and the last line of what was said."""

    layout: str
    seed: int
    what: str
    verdict: str
    said: str


def sound(layout, root):
    """Write the sound cohort of a layout."""
    root.mkdir(parents=True)
    COHORTS[layout](root)


def mutate(root, seed):
    """Damage one place of one file below a folder; says what was done."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    kinds = [_whole_file]
    if path.suffix in (".h5", ".h5ad"):
        kinds = [_whole_file, *[_hdf5] * 6]
    elif (kind := Path(path.name.removesuffix(".gz")).suffix) in (".csv", ".tsv", ".json", ".mtx"):
        kinds = [_whole_file, *[_json if kind == ".json" else _table] * 4]
    return f"{path.relative_to(root)}: {kinds[rng.integers(len(kinds))](path, rng)}"


def _whole_file(path, rng):
    content = path.read_bytes()
    changes = {
        "cut": lambda: path.write_bytes(content[: int(len(content) * rng.uniform(0.05, 0.9))]),
        "empty": lambda: path.write_bytes(b""),
        "of other bytes": lambda: path.write_bytes(rng.bytes(500)),
        "its first bytes zero": lambda: path.write_bytes(b"\0" * 512 + content[512:]),
        "text": lambda: path.write_bytes(b"<html>404 not found</html>\n"),
        "a folder": lambda: (path.unlink(), path.mkdir()),
        "a pipe": lambda: (path.unlink(), os.mkfifo(path)),
        "a link to nothing": lambda: (path.unlink(), path.symlink_to("nothing")),
        "a link to itself": lambda: (path.unlink(), path.symlink_to(path.name)),
        "a zero device": lambda: (path.unlink(), path.symlink_to("/dev/zero")),
        "gone": lambda: path.unlink(),
    }
    if not path.suffix or path.suffix in (".csv", ".tsv"):  # a number cut short is another number
        del changes["cut"]
    name = list(changes)[rng.integers(len(changes))]
    changes[name]()
    return name


def _hdf5(path, rng):
    with h5py.File(path, "a") as file:
        names = []
        file.visit(names.append)
        name = names[rng.integers(len(names))]
        found = file[name]
        if not isinstance(found, h5py.Dataset) or (len(found.attrs) and rng.random() < 0.25):
            return _attribute(found, name, rng)
        values, attributes = found[()], dict(found.attrs)
        what, other = _other_array(np.asarray(values), rng)
        del file[name]
        if what == "huge":
            shape = (3_000_000_000, *np.shape(values)[1:])
            file.create_dataset(name, shape, dtype=np.int64, chunks=(1000, *np.shape(values)[1:]))
        elif what == "a group":
            file.create_group(name)
        elif what != "gone":
            file[name] = other
        if what != "gone":
            file[name].attrs.update(attributes)
        return f"{name} {what}"


def _attribute(found, name, rng):
    keys = sorted(found.attrs)
    if not keys:
        parent, file = found.parent, found.file
        del file[found.name]
        return f"{name} gone below {parent.name}"
    key = keys[rng.integers(len(keys))]
    value = [None, "other", -1, [3_000_000_000, 4], float("nan")][rng.integers(5)]
    del found.attrs[key]
    if value is not None:
        found.attrs[key] = value
    return f"{name}, attribute {key} {'gone' if value is None else value}"


def _other_array(values, rng):
    n = len(values) if values.ndim else 0
    changes = {
        "gone": lambda: None,
        "huge": lambda: None,
        "a group": lambda: None,
        "a number": lambda: 7,
        "a text": lambda: "text",
        "half as long": lambda: values[: n // 2] if n else values,
        "twice as long": lambda: np.concatenate([values, values]) if n else values,
        "empty": lambda: values[:0] if n else values,
        "of one axis more": lambda: values[None],
        "of texts": lambda: np.array([b"x"] * max(n, 1)),
        "of broken texts": lambda: np.array([b"\xff\xfe"] * max(n, 1)),
        "of records": lambda: np.zeros(max(n, 1), dtype=[("a", "<i4"), ("b", "<f4")]),
    }
    if values.dtype.kind in "iuf" and values.size:
        changes |= {what: lambda bad=bad: _one_entry(values, bad, rng) for what, bad in _IMPOSSIBLE.items()}
    if n > 1:
        changes["with one entry twice"] = lambda: np.concatenate([values[:1], values[:-1]])
    if values.dtype.kind in "iuf":  # counts, positions, coordinates once more are others that are possible
        changes.pop("with one entry twice", None)
    what = list(changes)[rng.integers(len(changes))]
    return what, changes[what]()


_IMPOSSIBLE = {"with a -1": -1, "with a NaN": np.nan, "with a half": 0.25, "with 2**40": 2**40, "with infinity": np.inf}


def _one_entry(values, bad, rng):
    other = values.astype(np.int64 if isinstance(bad, int) else np.float64)
    other.flat[rng.integers(other.size)] = bad
    return other


def _unpacked(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _pack(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _table(path, rng):
    text = _unpacked(path)
    between = {".csv": b",", ".mtx": b" "}.get(Path(path.name.removesuffix(".gz")).suffix, b"\t")
    lines = text.split(b"\n")[:-1]
    row = int(rng.integers(len(lines)))
    fields = lines[row].split(between)
    column = int(rng.integers(len(fields)))
    if "features" in path.name and column == 1:  # another symbol is another gene
        column = 0
    changes = {
        "twice": lambda: lines.insert(row, lines[row]),
        "gone": lambda: lines.pop(row),
        "of a field more": lambda: lines.__setitem__(row, lines[row] + between + b"1"),
        "of a field less": lambda: lines.__setitem__(row, between.join(fields[:-1])),
        "no UTF-8": lambda: lines.__setitem__(row, b"\xff\xfe" + lines[row]),
        "with a zero byte": lambda: lines.__setitem__(row, lines[row][:3] + b"\0" + lines[row][3:]),
        "with other separators": lambda: lines.__setitem__(row, lines[row].replace(between, b";")),
    }
    for bad in (b"x", b"", b"nan", b"-1", b"1e400", b"99999999999999999999", b"True"):
        said = between.join([*fields[:column], bad, *fields[column + 1 :]])
        changes[f"with {bad.decode()!r} in field {column + 1}"] = lambda said=said: lines.__setitem__(row, said)
    what = list(changes)[rng.integers(len(changes))]
    changes[what]()
    _pack(path, b"\n".join(lines) + b"\n")
    return f"line {row + 1} {what}"


def _json(path, rng):
    said = json.loads(_unpacked(path))
    key = sorted(said)[rng.integers(len(said))]
    value = [None, -1, "text", [1], {"a": 1}, True, float("nan"), 1e308, "gone", "deep"][rng.integers(10)]
    if value == "gone":
        del said[key]
    else:
        said[key] = value
    text = json.dumps(said)
    _pack(path, text.replace('"deep"', "[" * 100_000 + "]" * 100_000).encode())
    return f"{key} {value}"


def attempt(root, out):
    """Rows of ``check`` as text, and the scores of a run on a cohort; a mistake of the user's as its one line.

    Raises:
        Exception: anything but a mistake of the user's.
    """
    try:
        rows = [
            f"{row.check}: {row.verdict}: {row.detail}" for row in audit(open_folder(root, require_image=False)).rows
        ]
    except UserError as error:
        rows = [f"FAIL: {error}"]
    try:
        return rows, _run(root, out)
    except UserError as error:
        return rows, f"refused: {error}"


def _run(root, out):
    words = {"dataset": str(root), "methods": ["ridge"], "genes": [4], "encoder": "mean-rgb", "patch": "8px"}
    planned = plan(Request.read({**words, "controls": False}), out / "cache")
    settings = planned.task(planned.folds[0], 4, planned.request.normalization[0])
    places = planned.cache_dir, _Quiet(), planned.device, planned.encoder
    task = build_task(planned.cohort, planned.card, settings, *places, split=planned.split)
    record = run_method(task, planned.runs[0].card, folder=out / "run", worker=work)
    if record.status != "done":
        return f"{record.status}: {record.reason}"
    return {name: summary.mean for name, summary in record.metrics.items()}


class _Quiet:
    def info(self, message):
        pass

    def track(self, description, total):
        from stbench.reporting import SILENT

        return SILENT.track(description, total)


def try_one(layout, seed, place, known):
    """Mutate a fresh cohort and see what becomes of it, in a process that may crash, hang or eat memory.

    Args:
        layout: of the cohort.
        seed: of the mutation.
        place: new folder.
        known: what :func:`attempt` says of the sound cohort, its folder named ``{root}``.
    """
    root, out = place / "cohort", place / "out"
    sound(layout, root)
    what = mutate(root, seed)
    out.mkdir()
    verdict, said = _in_child(root, out, known)
    shutil.rmtree(place)
    return Tried(layout, seed, what, verdict, said)


def baseline(layout, place):
    """What :func:`attempt` says of the sound cohort."""
    root, out = place / "cohort", place / "out"
    sound(layout, root)
    out.mkdir()
    found = attempt(root, out)
    shutil.rmtree(place)
    return found


def _in_child(root, out, known):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _BYTES, resource.RLIM_INFINITY))
        signal.alarm(_SECONDS)
        with os.fdopen(write, "w") as told:
            told.write(json.dumps(judged(root, out, known)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (HANG if number == signal.SIGALRM else CRASH), signal.Signals(number).name
    return tuple(json.loads(text))


def judged(root, out, known):
    """Verdict and what was said of a cohort, in this process; ``known`` as of :func:`try_one`."""
    try:
        rows, ended = attempt(root, out)
    except Exception:  # noqa: BLE001
        return TRACEBACK, " ".join(traceback.format_exc().splitlines()[-6:])
    lines = [*rows, *([ended] if isinstance(ended, str) else [])]
    if long := [line for line in lines if "\n" in line or "Traceback" in line]:
        return TRACEBACK, long[0]
    told = [row for row in rows if row not in known[0] and ": ok: " not in row]
    if told or ended == known[1]:
        return CLEAN, (told or ["harmless"])[0].replace(str(root), "")
    if isinstance(ended, str):
        return CLEAN, ended.replace(str(root), "")
    return SILENT, f"{known[1]} became {ended}"


def main(layouts_asked, numbers, place):
    """Try numbered mutations of every layout; prints what is not clean, returns all."""
    found = []
    for layout in layouts_asked:
        known = baseline(layout, place / "sound")
        for seed in numbers:
            one = try_one(layout, seed, place / f"{layout}-{seed}", known)
            found.append(one)
            if one.verdict != CLEAN:
                print(f"{layout} {seed}: {one.verdict}: {one.what}: {one.said}", file=sys.stderr, flush=True)
    return found


__all__ = ["CLEAN", "COHORTS", "VERDICTS", "Path", "Tried", "baseline", "judged", "main", "mutate", "sound", "try_one"]
