"""The notebook of the manual runs as it stands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "python.ipynb"


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Markdown=str))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    matplotlib.use("agg")
    known: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        for part in re.split(r"^!(.*)$", "".join(cell["source"]), flags=re.M) if cell["cell_type"] == "code" else ():
            if part.startswith("stbench "):
                words = shlex.split(part.partition(" 2>")[0].format_map(known))
                subprocess.run([sys.executable, "-m", *words], check=True)
            else:
                exec(compile(part, str(NOTEBOOK), "exec"), known)
    assert known["predicted"].shape == (120, 20)
