"""Which pictures runs allow, what is refused in one line, and how files are called."""

import shutil

import pytest

from stbench.errors import DataError, UnknownNameError, UserError
from stbench.evaluation.rescore import Truths
from stbench.pages.archive import write_archive
from stbench.pages.figures import save_figure
from stbench.pages.plots.draw import Pictures, safe
from stbench.pages.plots.material import Material, NotPossibleError
from stbench.pages.plots.style import grid
from stbench.reporting import SILENT


class Heard:
    """Keeps what it is told."""

    track = SILENT.track

    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


@pytest.fixture
def heard():
    return Heard()


def names(paths):
    return [path.name for path in paths]


def test_everything_that_runs_allow(at, tmp_path, heard):
    material = at()
    genes = material.predicting[0].record.task.genes
    written = Pictures(material, tmp_path / "out", genes=genes[:1], reporter=heard).draw()
    stems = [f"map-P3-s0-{genes[0]}", "network-P3-s0", "moran-P3-s0", f"draws-one-generative-P3-s0-{genes[0]}"]
    board = material.boards[0].name
    stems += ["calibration-P3-s0", f"forest-{board}"]
    assert names(written) == [*(f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")), f"genes-{board}.csv"]
    assert sorted(names((tmp_path / "out").iterdir())) == sorted(names(written))
    assert heard.lines == [
        "domains: left out, expected tissue domains (obs['domain']) on a test slide, found none",
        "training: left out, expected history.csv of a trained method beside its record.json, found none",
        *heard.lines[2:],
    ]


def test_default_genes_are_the_best_the_median_and_the_worst(at):
    material = at()
    run = material.predicting[0]
    scores = dict(zip(run.record.task.genes, run.gene_scores("P3-s0"), strict=True))
    known = sorted((gene for gene in scores if scores[gene] is not None), key=lambda gene: -scores[gene])
    assert material.genes((), "P3-s0") == [known[0], known[len(known) // 2], known[-1]]
    assert material.genes(["G5", "G5"], "P3-s0") == ["G5"]


def test_a_name_that_no_font_holds(tmp_path):
    figure, _ = grid(1, 1, (2, 2), "切片 $x$", "")
    png, svg = save_figure(figure, tmp_path / safe("切片"))
    assert png.is_file()
    assert "切片 $x$" in svg.read_text(encoding="utf-8")


def test_a_validation_slide_by_name(at, tmp_path):
    written = Pictures(at(), tmp_path / "out", slide="P2-s0").draw(["moran", "maps"])
    assert names(written)[0] == "moran-P2-s0.png"


def test_a_title_says_what_was_validated_on(at):
    material = at()
    titles = [material.view(slide, material.predicting).title for slide in ("P3-s0", "P2-s0")]
    assert titles == ["slide P3-s0 (tiny)", "slide P2-s0 (tiny, validation)"]


def test_unknown_names(at, tmp_path):
    material = at()
    with pytest.raises(UnknownNameError, match=r"unknown gene 'G99': did you mean .*nearest of 5 genes of the panel"):
        Pictures(material, tmp_path, genes=["G99"]).draw()
    with pytest.raises(UnknownNameError, match="unknown slide 'P0-s0'"):
        Pictures(material, tmp_path, slide="P0-s0").draw(["maps"])
    with pytest.raises(UnknownNameError, match="unknown kind of picture 'map': did you mean maps"):
        Pictures(material, tmp_path).draw(["map"])
    assert not (tmp_path / "out").exists()


def test_runs_without_predictions(at, tmp_path, heard):
    at()
    for folder in (tmp_path / "runs").iterdir():
        shutil.rmtree(folder / "predictions")
    material = Material.at([tmp_path / "runs"], Truths(None, tmp_path / "cache"))
    with pytest.raises(NotPossibleError, match="expected a run with predictions of test slides, found none"):
        Pictures(material, tmp_path / "out").draw(["network"])
    written = Pictures(material, tmp_path / "out", reporter=heard).draw()
    assert {name.partition("-")[0] for name in names(written)} == {"forest", "genes"}
    assert sum("left out, expected a run with predictions" in line for line in heard.lines) == 5


def test_a_method_without_predictions_is_named(at, tmp_path, heard):
    at(methods=("generative", "discriminative"))
    shutil.rmtree(tmp_path / "runs" / "discriminative" / "predictions")
    material = Material.at([tmp_path / "runs"], Truths(None, tmp_path / "cache"))
    Pictures(material, tmp_path / "out", reporter=heard).draw(["network", "moran"])
    assert heard.lines == ["one-discriminative, mean of 3: no stored predictions, not among the maps"]


def test_an_archive_of_records(at, tmp_path):
    material = at()
    write_archive(tmp_path / "board.records.jsonl.xz", material.boards[0].records)
    again = Material.at([tmp_path / "board.records.jsonl.xz"], Truths(None, tmp_path / "cache"))
    assert len(Pictures(again, tmp_path / "out").draw()) == 3


def test_predictions_of_two_tasks(at, tmp_path):
    at("runs/one")
    at("runs/two", genes=6)
    material = Material.at([tmp_path / "runs"], Truths(None, tmp_path / "cache"))
    with pytest.raises(
        NotPossibleError, match=r"expected predictions of one task, found 2: .*, such as .*runs/(one|two)"
    ):
        Pictures(material, tmp_path / "out").draw(["maps"])


def test_damaged_predictions_end_the_command(at, tmp_path):
    material = at()
    path = tmp_path / "runs" / "generative" / "predictions" / "P3-s0.h5ad"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="expected a prediction of slide P3-s0 in"):
        Pictures(material, tmp_path / "out").draw()


def test_a_cohort_that_is_not_there(at, tmp_path, monkeypatch, heard):
    material = at()

    def gone(*_, **__):
        raise DataError("no such folder")

    monkeypatch.setattr("stbench.evaluation.rescore.open_dataset", gone)
    assert Pictures(material, tmp_path / "out", reporter=heard).draw()
    assert "maps: left out, the truth is not there: no such folder" in heard.lines


def test_one_draw_is_no_sample(at, tmp_path):
    with pytest.raises(NotPossibleError, match="expected a generative method with two draws or more"):
        Pictures(at(draws=1), tmp_path / "out").draw(["draws"])


def test_controls_alone_are_shown_as_they_are(at):
    assert [run.label for run in at(methods=("control",)).predicting] == ["one-control, mean of 3"]


def test_nothing_finished(at):
    with pytest.raises(UserError, match="expected a finished run, found none"):
        Material([], Truths(None, None))


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "x" * 300, "HLA-A", "a b, (c)", "\x1b", "GÈNE", "a:b*?"])
def test_names_are_safe(name, tmp_path):
    said = safe(name)
    assert len(said) <= 60
    assert not set(said) & set('/\\:*?"<>| \x1b')
    (tmp_path / f"map-{said}.png").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"map-{said}.png"]
    assert safe("x" * 300) != safe("x" * 301)
