"""The page of a board says what its records say, and holds no markup but its own."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from stbench.errors import DataError, UnknownNameError, UserError
from stbench.evaluation.rescore import Truths
from stbench.pages.archive import write_archive
from stbench.pages.leaderboard import columns_of, table_of
from stbench.pages.plots.genes import gene_rows
from stbench.pages.plots.material import Material
from stbench.pages.protocol import boards_of
from stbench.pages.report.board import board_page
from stbench.pages.report.compact import LETTERS
from stbench.pages.report.forest import forests_of
from stbench.pages.report.maps import maps_of
from stbench.pages.report.write import index_page, write_report
from stbench.pages.sections import sections
from stbench.pages.wording import found_marks, notes, verdict

from ...evaluation.conftest import make_slide
from ..conftest import pictured
from ..plots.test_draw import Heard
from ..test_hostile import EVIL, evil_record
from ..test_leaderboard import facts, flag, record

ADDRESS = re.compile(r"#[\w-]+|\./[^/]+\.html|data:,")


class Page(HTMLParser):
    """Elements, their attributes, and all text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.scripts, self._in = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attrs = self._in[-1] if self._in else ("", {})
        if tag == "script" and attrs.get("type") == "application/json":
            self.scripts[attrs["id"]] = json.loads(data)
        elif tag not in ("script", "style"):
            self.texts.append(data)

    def handle_endtag(self, tag):
        while self._in and self._in.pop()[0] != tag:
            pass

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def page_of(records):
    (board,) = boards_of(sections(records))
    material = Material([(None, one) for one in records], Truths(None, None))
    return board, Page(board_page(board, material))


def compared():
    task = facts()
    genes = {"pcc": {slide: [0.2, 0.4] for slide in task.test}}
    return [
        flag(per_gene=genes),
        record("ridge", [0.5, 0.5, 0.4, 0.6], "control", per_gene=genes, seconds={"fit": 12.34, "predict": 5.67}),
        record("ceiling-count-split", [0.9] * 4, "ceiling"),
        record("total-counts", [0.7, 0.8, 0.7, 0.8], "oracle"),
        record("lost", kind="discriminative", status="failed", reason="of <no> reason"),
    ]


def closed(text):
    """Letters alone: blanks stand elsewhere in HTML, ticks and stars are elements there."""
    return re.sub(r"[\s`*]", "", text)


def test_every_cell_and_every_sentence_of_the_markdown_page_is_there():
    board, page = page_of(compared())
    shown, text = columns_of(board), closed(page.text)
    for row in table_of(board, shown).without("#").rows:
        assert closed("".join(row)) in text, row
    meanings = {line for line in notes(board, shown) if line.startswith("`=")}  # marks stand one by one
    for line in [verdict(board), *notes(board, shown)]:
        assert line in meanings or closed(line) in text, line
    assert [mark for mark, _ in found_marks(board)] == ["=", "!"]
    assert all(closed(meaning) in text for _, meaning in found_marks(board))
    assert "of <no> reason" in page.text
    assert "12.3" in page.text
    assert "stbench run ..." in page.text


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (facts(patients={}), "test patients unknown"),
        (facts(patients={**facts().patients, "t1": "a"}), "25% of test slides share a patient"),
        (facts(simulated=True), "simulated data"),
        (facts(test=["t1"]), "at least 4 are needed"),
        (facts(left_out={"z9": "no picture"}), "z9 no picture"),
    ],
    ids=["patients unknown", "leak", "simulated", "one patient", "left out"],
)
def test_boards_of_every_kind_have_pages(task, said):
    values = [0.1 * place for place in range(len(task.test))]
    _, page = page_of([record("x", values, task=task), record("r", values, "control", task=task)])
    assert said in page.text
    warned = [attrs for _, attrs in page.elements if attrs.get("class") == "limit"]
    assert len(warned) == 1 + (task.simulated or task.patients.get("t1") in (None, "a"))


def test_a_board_of_failures_has_a_page_beside_others(tmp_path):
    failed = record("y", status="failed", reason="why", task=facts(hash="b" * 64))
    write_archive(tmp_path / "b.records.jsonl.xz", [*compared(), failed])
    _, *pages = write_report([tmp_path / "b.records.jsonl.xz"], tmp_path / "i.html", Truths(None, None))
    assert any("failed: why" in Page(path.read_text()).text for path in pages)


def test_a_mark_leads_to_its_meaning():
    _, page = page_of(compared())
    links = [attrs for tag, attrs in page.elements if tag == "a" and attrs.get("class") == "mark"]
    targets = {attrs.get("id") for _, attrs in page.elements}
    assert links
    assert {link["href"][1:] for link in links} <= targets
    assert all(len(link["title"]) > 10 for link in links)


def test_forest_rows_stand_where_the_numbers_are():
    board, _ = page_of(compared())
    (plot,) = forests_of(board)
    rows = {row.label: row for row in plot.rows}
    means = {line.label: line.mean("log1p") for line in board.lines}
    assert plot.rows[0].label == "ceiling-count-split"
    known = [(rows[label].at, mean) for label, mean in means.items() if mean is not None]
    slope = np.polyfit(*zip(*known, strict=True), 1)
    np.testing.assert_allclose(np.polyval(slope, [at for at, _ in known]), [mean for _, mean in known], atol=1e-3)
    half = board.lines[1].numbers["log1p"]["pcc"].over.half
    first = rows[board.lines[1].label]
    assert slope[0] * (first.high - first.low) == pytest.approx(2 * half, abs=1e-3)


def test_genes_are_those_of_the_csv():
    board, page = page_of(compared())
    (block,) = page.scripts["data-genes"]["blocks"]
    rows = [row for row in gene_rows(board) if row.label == block["row"]]
    assert [gene[0] for gene in block["genes"]] == [row.worth.gene for row in rows]
    assert [gene[3] for gene in block["genes"]] == [round(row.worth.pcc, 3) for row in rows]


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_a_page_holds_text_alone(text):
    failed = record("y", status="failed", reason=text, task=evil_record(text).task)
    records = [evil_record(text), failed, record("r", [0.05] * 4, "control", task=failed.task)]
    _, page = page_of(records)
    check(page, page_of(compared())[1])
    check(Page(index_page(boards_of(sections(records)))), Page(index_page(boards_of(sections(compared())))))


def check(page, harmless):
    """No element but those of our templates, no address but places of this page, no code in attributes."""
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements} | {"details", "summary"}
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("href", "src"):
            assert ADDRESS.fullmatch(attrs.get(name) or "#x"), (tag, attrs)
    assert [tag for tag, _ in page.elements].count("script") == [tag for tag, _ in harmless.elements].count("script")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u202e]", page.text)


def test_maps_hold_the_truth_and_what_was_predicted(at):
    material = at()
    (board,) = material.boards
    maps = maps_of(board, material, ())
    assert [slide["slide"] for slide in maps.slides] == ["P3-s0", "P3-s1"]
    slide, view = maps.slides[0], material.view("P3-s0", material.predicting)
    assert [layer["name"] for layer in slide["layers"]] == ["measured", *(one.label for one in view.shown)]
    for gene in slide["genes"]:
        low, high = gene["range"]
        column = view.column(gene["name"])
        expected = [view.measured(gene["name"]), *(one.prediction.mean[:, column] for one in view.shown)]
        for text, values in zip(gene["values"], expected, strict=True):
            found = low + np.array([LETTERS.index(letter) for letter in text]) / 63 * (high - low)
            np.testing.assert_allclose(found, np.clip(values, low, high), atol=(high - low) / 120 + 1e-3)
        scores = [one.run.gene_scores("P3-s0")[column] for one in view.shown]
        assert gene["pcc"][1:] == [None if score is None else round(score, 3) for score in scores]


def test_a_picture_lies_under_its_spots(at):
    """Spots at 10 to 70 px, discs of 11 px, two of them as margin: from -12 to 92; the picture has 0 to 80."""
    (board,) = (material := at()).boards
    slide = maps_of(board, material, ()).slides[0]
    assert slide["picture"]["box"] == pytest.approx([12 / 104, 12 / 104, 80 / 104, 80 / 104], abs=1e-3)
    steps = np.array([LETTERS.index(letter) for letter in slide["places"]]).reshape(-1, 2, 2) @ [64, 1]
    xy = -12 + steps / 4095 * 104
    np.testing.assert_allclose(xy, material.view("P3-s0", material.predicting).truth.inputs.xy, atol=0.02)
    length, said = slide["bar"]
    assert length * 104 * 0.5 == pytest.approx(float(said.removesuffix(" µm")), abs=0.1)


def test_domains_of_a_slide_are_drawn(at, slides):
    labels = ["b", "a", "", "a"] * 4
    for slide in slides:
        slide.adata.obs["domain"] = labels
    (board,) = (material := at(slides=slides)).boards
    domains = maps_of(board, material, ()).slides[0]["domains"]
    assert domains == {"names": ["a", "b"], "values": "BA.A" * 4}


def test_a_page_of_eight_methods_stays_small(at, monkeypatch):
    """Whatever the numbers of spots and slides: the letters of all maps are bounded."""
    material = at()
    (board,) = material.boards
    monkeypatch.setattr("stbench.pages.report.maps._MOST_LETTERS", 400)
    slides = maps_of(board, material, ()).slides
    letters = sum(len(text) for slide in slides for gene in slide["genes"] for text in gene["values"])
    assert [len(slide["genes"]) for slide in slides] == [4, 4]
    assert letters == 4 * 2 * 16 * 3 <= 400
    assert len(board_page(board, material)) < 90_000


def test_asked_genes_are_there_and_others_are_named(at, monkeypatch):
    material = at(genes=6)
    (board,) = material.boards
    monkeypatch.setattr("stbench.pages.report.maps._MOST_LETTERS", 1)
    gene = material.runs[0].record.task.genes[4]
    maps = maps_of(board, material, [gene])
    assert maps.slides[0]["genes"][0]["name"] == gene
    assert len(maps.slides[0]["genes"]) == 3
    assert maps.said[0].startswith("Maps of 3 of 6 genes")
    with pytest.raises(UnknownNameError, match="unknown gene 'NOPE'"):
        maps_of(board, material, ["NOPE"])


def test_without_predictions_the_page_says_what_is_missing(at, tmp_path):
    material = at()
    heard = Heard()
    write_archive(tmp_path / "b.records.jsonl.xz", [run.record for run in material.runs])
    out = tmp_path / "r.html"
    assert write_report([tmp_path / "b.records.jsonl.xz"], out, Truths(None, None), reporter=heard) == [out]
    page = Page(out.read_text(encoding="utf-8"))
    assert "No maps and no networks: the records come from an archive" in page.text
    assert page.scripts["data-maps"]["slides"] == []
    assert heard.lines[0].startswith("No maps and no networks: the records come from an archive")
    gene = material.runs[0].record.task.genes[0]
    with pytest.raises(UserError, match="the records come from an archive"):
        write_report([tmp_path / "b.records.jsonl.xz"], out, Truths(None, None), genes=[gene])


def test_several_boards_are_an_index_and_a_page_each(at, tmp_path):
    at("runs/one")
    material = at("runs/two", genes=6)
    out = tmp_path / "site/index.html"
    truths = Truths(None, tmp_path / "cache")
    index, *pages = write_report([tmp_path / "runs"], out, truths)
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(path.name for path in (index, *pages))
    links = [attrs["href"] for tag, attrs in Page(index.read_text()).elements if tag == "a"]
    assert [link.removeprefix("./") for link in links if link.startswith("./")] == [path.name for path in pages]
    assert "./index.html" in pages[0].read_text()
    assert len(pages) == len(Material.at([tmp_path / "runs"], truths).boards) == 2
    with pytest.raises(UserError, match="expected another name"):
        write_report([tmp_path / "runs"], out.with_name(f"{material.boards[0].name}.html"), truths)


def test_the_same_records_make_the_same_page(at):
    material = at()
    (board,) = material.boards
    assert board_page(board, material) == board_page(board, material)


def test_a_prediction_of_another_task_is_one_line(at, tmp_path):
    one, two = at("one"), at("two", genes=6)
    stored = next(run.folder for run in one.runs if run.block == "methods") / "predictions"
    other = next(run.folder for run in two.runs if run.block == "methods") / "predictions"
    (stored / "P3-s0.h5ad").write_bytes((other / "P3-s0.h5ad").read_bytes())
    with pytest.raises(DataError) as error:
        write_report([tmp_path / "one"], tmp_path / "r.html", Truths(None, tmp_path / "cache"))
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_names_of_slides_and_genes_are_text_in_maps_too(at):
    evil = "<img src=x onerror=alert(1)>"
    genes = [f"G{i}{evil}" for i in range(12)]
    slides = [pictured(make_slide(f"P{p}-s{s}", f"P{p}{evil}", genes)) for p in range(4) for s in range(2)]
    material = at(slides=slides)
    (board,) = material.boards
    page = Page(board_page(board, material))
    assert "img" not in {tag for tag, _ in page.elements}
    assert page.scripts["data-maps"]["slides"][0]["patient"] == f"P3{evil}"
