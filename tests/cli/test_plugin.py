"""What other packages bring: a method, a metric, an encoder, a reader; one file each."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import Distribution
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stbench.catalogue import load_entry, plugins
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.reporting import Silent

ROOT = Path(__file__).parents[2]
PACKAGES = {path.name: path for path in sorted((ROOT / "tests" / "plugin").glob("stbench-*"))}
MODULES = {name: path / f"{name.replace('-', '_')}.py" for name, path in PACKAGES.items()}
TINY = [
    *("--simulate", "n_patients=3", "--simulate", "sections_per_patient=1"),
    *("--simulate", "n_spots=16", "--simulate", "n_genes=30"),
]


def install(source, target):
    """Install a package into a folder, without network."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    words = ["--no-deps", "--no-build-isolation", "--no-compile", "--target", target, *source]
    subprocess.run([*pip, *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder all packages were installed into."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name, package in PACKAGES.items():
        (source / name).mkdir()
        for path in package.iterdir():
            if path.is_file():
                (source / name / path.name).write_bytes(path.read_bytes())
    install(source.iterdir(), target)
    return target


def forget():
    """Have the environment looked through again."""
    plugins.installed.cache_clear()
    plugins._of_all_packages.cache_clear()


@pytest.fixture
def with_packages(installed, stbench):
    """Runs a command in this process, where the packages are installed meanwhile."""

    def run(*words):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(installed)
            forget()
            ended = stbench(*words)
        for name in MODULES:
            sys.modules.pop(name.replace("-", "_"), None)
        forget()
        return ended

    return run


def line_of(ended, name):
    (line,) = (line for line in ended.out.splitlines() if line.startswith(f"{name} "))
    return line


@pytest.mark.parametrize("name", ["knn", "mlp"])
def test_a_method_is_listed_and_checked(with_packages, name):
    assert f"from package stbench-{name}" in line_of(with_packages("methods", "list"), name)
    ended = with_packages("methods", "check", name)
    assert ended.code == 0, ended.out + ended.err


def test_a_method_is_run_and_ranked(with_packages):
    words = ["--method", "knn", "--encoder", "mean-rgb", "--genes", "5", "--no-controls", "--set", "k=4"]
    ended = with_packages("run", *words, *TINY)
    assert ended.code == 0, ended.err
    assert "\nknn " in ended.out


class StopsEarly(Silent):
    """A reporter that interrupts training before its fourth update."""

    @contextmanager
    def track(self, description, total):
        calls = iter(range(4))

        def advance(steps=1, *, note=""):
            if next(calls) == 3:
                raise KeyboardInterrupt

        yield advance


def test_a_network_goes_on_from_its_checkpoint(tmp_path):
    """What the manual says of seeds and checkpoints: interrupted and gone on with, it predicts the same to the bit."""
    method_class = load_entry(f"{MODULES['stbench-mlp']}:Mlp")
    rng = np.random.default_rng(0)
    features, expression = rng.normal(size=(3, 20, 4)).astype(np.float32), rng.normal(size=(3, 20, 2))
    slides = [
        LabelledSlide(SlideInputs(name, name, x, x[:, :2]), y.astype(np.float32))
        for name, x, y in zip("ABC", features, expression, strict=True)
    ]

    def predicted(folder, **more):
        folder.mkdir(exist_ok=True)
        method = method_class(method_class.Settings(max_updates=6, validate_every=2))
        method.fit(slides[:2], slides[2:], Context(("G1", "G2"), workdir=folder, **more))
        return method.predict(slides[2].inputs, 1, 0)

    expected = predicted(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        predicted(tmp_path / "parts", reporter=StopsEarly())
    again = predicted(tmp_path / "parts", resume=True)
    np.testing.assert_array_equal(again, expected)
    assert (tmp_path / "parts/history.csv").read_text().count("\n") == 4  # head, updates 2, 4 and 6


def test_a_metric_is_listed_scored_and_shown(with_packages, tmp_path):
    assert "bias of deep spots" in line_of(with_packages("metrics", "list"), "bias")
    words = ["--method", "training-mean", "--no-controls", "--encoder", "mean-rgb", "--genes", "5", "--out", "mine"]
    ended = with_packages("run", *words, *TINY)
    assert ended.code == 0, ended.err
    record = json.loads((tmp_path / "mine/training-mean/record.json").read_text())
    score = record["metrics"]["bias"]["mean"]
    assert np.isfinite(score)
    shown = with_packages("leaderboard", "mine", "--metric", "bias")
    assert shown.code == 0, shown.err


def test_a_metric_that_came_later_reaches_old_runs(with_packages, stbench, tmp_path):
    words = ["--method", "training-mean", "--no-controls", "--encoder", "mean-rgb", "--genes", "5", "--out", "mine"]
    assert stbench("run", *words, *TINY).code == 0
    path = tmp_path / "mine/training-mean/record.json"
    before = json.loads(path.read_text())
    ended = with_packages("rescore", "mine")
    assert ended.code == 0, ended.err
    assert ended.out.endswith(", 1 new metric\n")
    after = json.loads(path.read_text())
    assert np.isfinite(after["metrics"].pop("bias")["mean"])
    assert after.pop("seal") != before.pop("seal")
    assert after == before


@pytest.mark.parametrize(
    ("name", "ends", "found"),
    [("exits", "sys.exit(0)", "SystemExit: 0"), ("divides", "1 / 0", "ZeroDivisionError: division by zero")],
)
def test_a_metric_ends_no_command(stbench, broken, tmp_path, name, ends, found):
    words = ["--method", "training-mean", "--no-controls", "--encoder", "mean-rgb", "--genes", "5", "--out", "mine"]
    assert stbench("run", *words, *TINY).code == 0
    before = (tmp_path / "mine/training-mean/record.json").read_bytes()
    broken("metric", name, f"import sys\n\ndef Bad(t, p):\n    {ends}\n\nBad.card = {{'direction': 'lower'}}\n")
    said = f"metric {name}: expected a score, found {found}"
    for command in (["rescore", "mine"], ["leaderboard", "mine", "--rescore"]):
        assert said in stbench(*command).reason
    assert (tmp_path / "mine/training-mean/record.json").read_bytes() == before


def test_an_encoder_gives_features(with_packages):
    assert "from package stbench-grey" in line_of(with_packages("encode", "--list"), "grey")
    ended = with_packages("encode", "--encoder", "grey", *TINY)
    assert ended.code == 0, ended.err
    assert all(line.split()[2] == "9" for line in ended.out.splitlines()[2:])
    said = with_packages("encode", "--encoder", "grey", "--weights", "w.pt", *TINY).err
    assert "encoder 'grey' expected no weights, found w.pt" in said
    assert "unknown encoder 'gray': did you mean grey?" in with_packages("encode", "--encoder", "gray", *TINY).err


def test_a_reader_opens_a_folder(with_packages, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "slides").mkdir()
    for slide in ("P1_a", "P2_a", "P3_a"):
        spots = [f"s{i},{x},{y}," + ",".join(map(str, rng.poisson(3, 6))) for i, (x, y) in enumerate(PLACES)]
        text = "\n".join(["spot,x,y," + ",".join(f"G{i}" for i in range(6)), *spots])
        (tmp_path / "slides" / f"{slide}.csv").write_text(text)
        picture = rng.integers(0, 255, (500, 500, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "slides" / f"{slide}.png")
    words = ["--dataset", "slides", "--genes", "4", "--split", "patient", "--patch", "112um"]
    ended = with_packages("run", "--method", "ridge", "--encoder", "grey", "--no-controls", *words)
    assert ended.code == 0, ended.err
    assert "\nridge " in ended.out
    (tmp_path / "nothing").mkdir()
    said = with_packages("run", "--method", "ridge", "--dataset", "./nothing", "--genes", "4").err
    assert "csv: <id>.csv and <id>.png" in said


PLACES = [(x, y) for x in (150, 250, 350) for y in (150, 250, 350)]


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Make one entry of an installed package, by default one that cannot be imported."""

    def install_entry(kind, name, text="raise RuntimeError('no\\nway')"):
        folder = tmp_path / "bad_luck-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-luck\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[stbench.{kind}s]\n{name} = trouble_of_bad_luck:Bad\n")
        (tmp_path / "trouble_of_bad_luck.py").write_text(text)
        points = list(Distribution.at(folder).entry_points)
        monkeypatch.setattr(plugins, "installed", lambda asked: points if asked == kind else [])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "trouble_of_bad_luck", raising=False)

    return install_entry


ASKS = {
    "method": ["methods", "show", "bad"],
    "metric": ["metrics", "list"],
    "encoder": ["encode", "--encoder", "bad"],
    "reader": ["run", "--method", "ridge", "--dataset", "./nothing"],
}


@pytest.mark.parametrize(("kind", "words"), ASKS.items())
def test_a_broken_package_is_named_in_one_line(stbench, broken, kind, words):
    broken(kind, "bad")
    found = "expected to import 'trouble_of_bad_luck:Bad', found RuntimeError: no; update or uninstall the package"
    assert f"{kind} 'bad' of package bad-luck: {found}" in stbench(*words).reason


BIAS = "def Bad(t, p):\n    return 0.0\n"
OTHER_KEY = "from stbench.features.encoders import MeanRgb\nclass Bad(MeanRgb): ...\n"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("method", "Bad = 1", "expected a subclass of stbench.methods.base.Method"),
        ("metric", BIAS, "metric 'bad' of package bad-luck: expected a function with a dictionary as its attribute"),
        ("metric", f"{BIAS}Bad.card = {{}}", "card of metric 'bad' of package bad-luck: direction: Field required"),
        ("metric", f"{BIAS}Bad.card = {{'direction': 'lower', 'needs': ['dpeth']}}", "did you mean depth?"),
        ("encoder", "Bad = 1", "encoder 'bad' of package bad-luck: expected a subclass of stbench.features.encoder"),
        ("encoder", OTHER_KEY, "expected a key that begins with 'bad/', found 'mean-rgb/1'"),
        ("reader", "Bad = 1", "reader 'bad' of package bad-luck: expected a stbench.data.readers.layout.Layout"),
    ],
)
def test_an_entry_of_the_wrong_kind(stbench, broken, kind, text, said):
    broken(kind, "bad", text)
    assert said in stbench(*ASKS[kind]).reason


@pytest.mark.parametrize(
    ("kind", "taken"), [("method", "ridge"), ("metric", "pcc"), ("encoder", "uni"), ("reader", "hest")]
)
def test_a_name_belongs_to_one(stbench, broken, kind, taken):
    broken(kind, taken)
    said = stbench(*ASKS[kind]).reason
    assert f"two {kind}s are named" in said
    assert "found it in stbench and package bad-luck; uninstall one of them" in said


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("method", ["methods", "list"]),
        ("metric", ["methods", "show", "ridge"]),
        ("encoder", ["encode", "--list"]),
        ("reader", ["datasets", "list"]),
    ],
)
def test_a_broken_package_disturbs_nobody_else(stbench, broken, kind, words):
    broken(kind, "bad")
    ended = stbench(*words)
    assert ended.code == 0
    assert ("package bad-luck" in ended.out) == (kind in ("method", "encoder"))


@pytest.mark.parametrize("name", PACKAGES)
def test_they_are_short(name):
    most = 70 if name == "stbench-mlp" else 40
    assert len(MODULES[name].read_text().splitlines()) <= most


def test_the_manual_shows_them_as_they_are():
    manual = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    shown = re.findall(r"```python\n(.*?)```", manual, re.DOTALL)
    assert sorted(shown) == sorted(path.read_text(encoding="utf-8") for path in MODULES.values())
    for package in PACKAGES.values():
        lines = (package / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith('[project.entry-points."stbench.'))
        assert "\n".join(lines[place : place + 2]) in manual
