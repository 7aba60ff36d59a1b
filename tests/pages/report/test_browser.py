"""The page in a browser: nothing leaves the file, everything can be reached by keys, nothing is wider than a phone."""

import shutil

import pytest

from stbench.pages.report.board import board_page
from stbench.training.history import HISTORY

from ...evaluation.conftest import make_slide
from ..conftest import pictured, running

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
FLAGS += " --disable-sync"
EVIL = "<img src=x onerror=document.title='hacked'>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with maps, genes of an evil name, networks and training curves."""
    root = tmp_path_factory.mktemp("report")
    genes = [f"G{i}" for i in range(11)] + [f"G11{EVIL}"]
    slides = [pictured(make_slide(f"P{p}-s{s}", f"P{p}{EVIL}", genes)) for p in range(4) for s in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        material = running(slides, root, patch)(genes=8)
        (board,) = material.boards
        lines = "update,loss,validation_pcc,learning_rate,seconds\n10,3,0.1,1,1\n20,2,0.3,1,2\n30,1,0.2,1,3\n"
        (material.runs[0].folder / HISTORY).write_text(lines)
        path = root / "report.html"
        path.write_text(board_page(board, material), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, report):
    """Opens the page; at its end there was no word on the console and no request but for the file itself."""
    opened, heard = [], []

    def open_(width=1200, **options):
        made = browser.new_page(viewport={"width": width, "height": 800}, **options)
        made.on("console", lambda message: heard.append(message.text))
        made.on("pageerror", lambda error: heard.append(str(error)))
        made.on("request", lambda request: None if request.url.startswith("data:") else asked.append(request.url))
        opened.append(made)
        made.goto(report.as_uri())
        return made

    asked = []
    yield open_
    for made in opened:
        assert "hacked" not in made.title()
        made.close()
    assert heard == []
    assert set(asked) == {report.as_uri()}


def column(page, table, place):
    return page.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map(row => row.cells[{place}].textContent.trim())"
    )


def test_headings_sort_by_number_and_by_name(page):
    page = page()
    head = page.locator("#ranking thead th").nth(1)
    assert head.get_attribute("aria-sort") is None
    orders = []
    for direction in ("descending", "ascending"):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        orders.append([float(text.split()[0]) for text in column(page, "#ranking", 1) if text != "-"])
    assert orders == [sorted(orders[0], reverse=True), sorted(orders[0])]
    assert len(set(orders[0])) > 1
    page.locator("#gene-table thead button").first.press("Enter")
    numbers = [int(gene.removesuffix(EVIL)[1:]) for gene in column(page, "#gene-table", 0)]
    assert numbers == sorted(numbers)
    assert page.locator("#ranking thead [aria-sort]").count() == 1


def test_search_and_verdict_leave_the_genes_that_fit(page):
    page = page()
    every = column(page, "#gene-table", 0)
    assert len(every) == 8
    page.get_by_label("Search").fill(every[0].lower()[:3])
    found = column(page, "#gene-table", 0)
    assert found == [gene for gene in every if every[0].lower()[:3] in gene.lower()]
    assert page.locator("#gene-count").text_content() == f"{len(found)} of 8 genes"
    page.get_by_label("Search").fill("")
    page.get_by_label("Verdict").select_option("doubtful")
    assert set(column(page, "#gene-table", 1)) <= {"doubtful"}


def test_another_metric_fills_the_same_tables(page):
    page = page()
    before = column(page, "#patients table", 1)
    page.get_by_label("Metric").select_option(label="MSE ↓")
    after = column(page, "#patients table", 1)
    assert len(before) == len(after)
    assert before != after
    assert page.locator("#patients summary").first.text_content() == "MSE ↓ by patient, log1p"
    page.get_by_label("Metric").select_option(index=0)
    assert column(page, "#patients table", 1) == before


def test_choosers_draw_another_slide_and_gene(page):
    page = page()
    title, pixels = page.locator("#map-title"), "() => document.querySelectorAll('#map-panels canvas')[1].toDataURL()"
    page.wait_for_function("document.querySelectorAll('#map-panels canvas').length === 4")
    assert page.locator("#map-scale").text_content().startswith("expression, log1p")
    first, drawn = title.text_content(), page.evaluate(pixels)
    page.get_by_role("button", name="Next gene").click()
    page.wait_for_function("before => document.getElementById('map-title').textContent !== before", arg=first)
    assert page.evaluate(pixels) != drawn
    page.locator("#slide").select_option(index=1)
    page.wait_for_function("document.getElementById('map-title').textContent.includes('P3-s1')")
    assert "P3-s1" in page.locator("#network-title").text_content()
    gene = page.locator("#gene-table tbody button").last
    name = gene.text_content()
    gene.click()
    page.wait_for_function("name => document.getElementById('map-title').textContent.startsWith(name)", arg=name)


def test_arrow_keys_walk_over_spots_that_lie_as_in_the_picture(page):
    """The spot of the least x and y, the first, is in the upper left corner."""
    page = page(reduced_motion="reduce")  # nothing moves between two measurements
    page.wait_for_function("document.querySelectorAll('#map-panels canvas').length === 4")
    canvas, note = page.locator("#map-panels canvas[tabindex]").first, page.locator("#map-panels small").nth(1)
    seen = {}
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        canvas.press(key)
        rings, box = page.locator(".ring:visible"), canvas.bounding_box()
        assert rings.count() == 3  # what was measured, the method and the control
        at = rings.first.bounding_box()
        place = [(at[axis] + at[side] / 2 - box[axis]) / box[side] for axis, side in (("x", "width"), ("y", "height"))]
        seen[note.text_content()] = tuple(round(share * 104 - 12) for share in place)  # spots at 10, 30, 50 and 70 px
    assert list(seen.values()) == [(10, 10), (30, 10), (30, 30)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_switch_turns_light_and_dark(page, scheme):
    page = page(color_scheme=scheme)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    assert (sum(map(int, before[4:-1].split(","))) < 200) is (scheme == "dark")
    page.locator("#theme").press("Enter")
    after = page.evaluate(ground)
    assert (sum(map(int, after[4:-1].split(","))) < 200) is (scheme == "light")
    page.reload()
    assert page.evaluate(ground) == after


@pytest.mark.parametrize("width", [375, 800])
def test_no_page_is_wider_than_its_window(page, width):
    page = page(width)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.locator(".box").first
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth") or width > 375
    wide.evaluate("box => { box.scrollLeft = 200; }")
    left = wide.locator("tbody th").first.bounding_box()["x"]
    assert left >= wide.bounding_box()["x"] - 1  # the first column stays in sight


def test_keys_reach_everything_and_marks_explain_themselves(page):
    page = page()
    seen = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        said = page.evaluate(
            """() => { const one = document.activeElement;
            return [one.tagName + (one.id && '#' + one.id), getComputedStyle(one).outlineStyle, one.className]; }"""
        )
        if said[0] == "BODY":
            break
        assert said[1] != "none", said
        seen.add(said[0])
        if said[2] == "mark":
            assert page.locator("#tip").is_visible()
            seen.add("mark")
            assert len(page.locator("#tip").text_content()) > 10
    assert {"BUTTON#theme", "SELECT#slide", "SELECT#gene", "INPUT#gene-search", "SUMMARY", "A", "CANVAS"} <= seen
    assert "mark" in seen


def test_what_is_printed_is_open_and_light(page):
    page = page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#theme").is_hidden()
    assert page.locator("#slide").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_text_and_tables_stand_without_scripts(page, browser):
    page = page(java_script_enabled=False)
    assert page.locator("#ranking tbody tr").count() > 1
    assert page.locator("#gene-table tbody tr").count() == 8
    assert page.locator("#maps noscript p").is_visible()
    assert page.locator("#slide").is_hidden()
    assert page.locator("#training polyline").count() == 2
