"""The notebooks of the manual run as they stand, and what they say of their numbers holds."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest

DOCS = Path(__file__).parents[1] / "docs"
WRITES = "%%writefile "


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """What is known after the last cell of a notebook, run in an empty folder with an empty cache."""
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Markdown=str))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    matplotlib.use("agg")

    def run(name):
        known: dict = {}
        for cell in json.loads((DOCS / name).read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                _run("".join(cell["source"]), name, known)
        return known

    return run


def _run(source, name, known):
    if source.startswith(WRITES):
        head, _, text = source.partition("\n")
        Path(head.removeprefix(WRITES)).write_text(text, encoding="utf-8")
        return
    for part in re.split(r"^!(.*)$", source, flags=re.M):
        if part.startswith("stbench "):
            words = shlex.split(part.partition(" 2>")[0].format_map(known))
            subprocess.run([sys.executable, "-m", *words], check=True)
        else:
            exec(compile(part, name, "exec"), known)


@pytest.mark.slow
def test_stbench_from_python(ran):
    assert ran("python.ipynb")["predicted"].shape == (120, 20)


@pytest.mark.slow
def test_a_method_of_ones_own(ran):
    known = ran("method.ipynb")
    assert known["runs"].troubles == {}
    assert (known["scores"]["smooth"] < known["scores"]["ridge"]).all()  # "every patient loses"
    assert known["scores"]["smooth"].mean() == pytest.approx(0.38, abs=0.05)  # "about 0.4"
    assert known["expression"].shape == known["rows"]["smooth"].shape == (120, 20)
