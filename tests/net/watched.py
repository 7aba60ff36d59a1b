"""What a rebuild must not move, and how to look at it: through the command line and the files it leaves alone.

``python tests/net/watched.py`` keeps what is there now; to be run only where a change is meant, and said.
"""

import contextlib
import io
import json
import lzma
import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from stbench.catalogue import method_cards
from stbench.cli.main import main
from stbench.methods.registry import method_class, resolve_settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HASHES, SETTINGS, PREDICTIONS = HERE / "task_hashes.json", HERE / "settings.json", HERE / "predictions.npz"
FOLDERS, TABLES, BOARDS = HERE / "folders.json.xz", HERE / "flag_tables.txt", HERE / "boards.json"
TINY = [
    *("--simulate", "n_patients=3", "--simulate", "sections_per_patient=1"),
    *("--simulate", "n_spots=16", "--simulate", "n_genes=30"),
]
SIMULATED = {
    "simulated": [*TINY, "--encoder", "mean-rgb", "--genes", "4"],
    "simulated, other settings": [*TINY, "--genes", "6", "--split-seed", "1", "--normalize", "cp10k-log1p"],
}
SPLITS = ROOT / "leaderboards" / "splits"
REAL = {
    "her2st": ["--dataset", "her2st", "--genes", "50", "--split", SPLITS / "her2st-same-patient.json"],
    "dlpfc": ["--dataset", "dlpfc", "--genes", "30", "--encoder", "mean-rgb"],
    "hest-mini": ["--dataset", "hest_mini", "--genes", "20", "--encoder", "mean-rgb"],
}
GRIDS = {
    "sweep": [
        *("sweep-genes", *TINY, "--encoder", "mean-rgb", "--genes", "4,6", "--seeds", "0,1"),
        *("--methods", "ridge", "--variant", "stiff=ridge,alpha=9"),
    ],
    "ablation": [
        *("ablate", "--method", "../cli/ablatable.py:Ablatable", *TINY, "--encoder", "mean-rgb"),
        *("--genes", "4", "--seeds", "0,1,2", "--tables", "A,B,D"),
    ],
}
PAGES = {".md", ".csv"}
FLAG_TABLES = ["ablate", "--method", "flag", "--preset", "test", "--dry-run", *TINY, "--genes", "4"]


def processor():
    """What may move the last bits of a prediction."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def task_hash(words, folder, data_root):
    """Hash of the task of a run, whose record the command line left."""
    where = ["--data-root", str(data_root)]
    asked = [str(data_root / word) if word == "hest_mini" else str(word) for word in words]
    assert main(["run", "--method", "training-mean", "--no-controls", *asked, *where, "--out", str(folder)]) == 0
    return json.loads((folder / "training-mean" / "record.json").read_text())["task"]["hash"]


def settings_of(name):
    """Every preset of a method, all settings resolved; JSON as records hold it."""
    card = method_cards()[name]
    cls = method_class(card)
    return {
        preset: resolve_settings(card, cls, preset, {}).model_dump(mode="json")
        for preset in ["", *sorted(card.presets)]
    }


def predictions_of(name, folder):
    """Draws and direct mean of a method fitted on the tiny slides of the contract suite."""
    bench = contract_bench()(method_cards()[name], folder)
    found = {f"{name}/draws": bench.predict(bench.fitted)}
    mean = bench.fitted.predict_mean(bench.test, 7)
    return found if mean is None else {**found, f"{name}/mean": mean}


def contract_bench():
    from stbench.proofs.contract_bench import Bench

    return Bench


def flag_tables():
    """What ``stbench ablate`` says of FLAG's tables: labels, runs, settings, what is refused."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*FLAG_TABLES, "--out", "nowhere"]) == 0
    lines = said.getvalue().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if line.startswith("table "))
    return "".join(line for line in lines[first:] if line.startswith(("table ", " ")))


def texts_of(folder):
    """Path to text of everything a grid left that is not an array."""
    kept = {".json", *PAGES}
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in kept]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def lay(texts, folder):
    """Write what :func:`texts_of` read."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def read_folders():
    return json.loads(lzma.decompress(FOLDERS.read_bytes()))


def _keep():
    os.environ["OMP_NUM_THREADS"] = "1"
    data = Path(os.environ["STBENCH_DATA"]).resolve()
    os.chdir(HERE)
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        hashes = {key: task_hash(words, tmp / key, data) for key, words in {**SIMULATED, **REAL}.items()}
        HASHES.write_text(json.dumps(hashes, indent=1) + "\n")
        SETTINGS.write_text(json.dumps({one: settings_of(one) for one in sorted(method_cards())}, indent=1) + "\n")
        arrays = {"processor": np.array(processor())}
        for one in sorted(method_cards()):
            arrays |= predictions_of(one, tmp / "bench" / one)
        np.savez_compressed(PREDICTIONS, **arrays)
        TABLES.write_text(flag_tables(), encoding="utf-8")
        for kind, words in GRIDS.items():
            main([*words, "--out", str(tmp / kind)])
        kept = {kind: texts_of(tmp / kind) for kind in GRIDS}
        FOLDERS.write_bytes(lzma.compress(json.dumps(kept).encode(), preset=9))


if __name__ == "__main__":
    _keep()
