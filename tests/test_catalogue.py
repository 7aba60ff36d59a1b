"""Cards, entry points and settings."""

import tomllib
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from stbench.catalogue import (
    METHOD_NEEDS,
    METRIC_NEEDS,
    DatasetCard,
    MethodCard,
    MetricCard,
    dataset_cards,
    find_dataset,
    find_metric,
    load_entry,
    method_cards,
    metric_cards,
    paper_cards,
    plugins,
    read_card,
    usual_controls,
)
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.methods.base import Method, SlideInputs
from stbench.methods.registry import check_preset, find_method, method_class, resolve_settings
from stbench.metrics.summary import DRAWS, KEYWORDS, SLIDES
from stbench.proofs.contract_bench import WITHHELD

CARD = 'name = "mine"\ntitle = "Mine"\nentry = "a:B"\n'
METHOD = """
from stbench.methods.base import Method

class Mine(Method):
    card = {card}

    def fit(self, train, validation, context): ...
    def predict(self, inputs, draws, seed): ...
"""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    k: int = 3
    name: str = "x"
    flags: list[int] = []


class Mine(Method):
    Settings = Settings

    def fit(self, train, validation, context): ...
    def predict(self, inputs, draws, seed): ...


@pytest.fixture
def card():
    return MethodCard(name="mine", title="Mine", entry=f"{__name__}:Mine", presets={"small": {"k": 1}})


def test_every_catalogue_is_shipped():
    root = Path(__file__).parents[1]
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = {path.parent.name for path in root.glob("*/*.toml")} - {"leaderboards"}  # commands, no cards
    assert build["force-include"] == {name: f"stbench/_cards/{name}" for name in folders}
    assert folders == {"methods", "datasets", "metrics", "papers", "pretrained"}


@pytest.mark.parametrize("cards", [method_cards, dataset_cards, metric_cards, paper_cards])
def test_every_card_is_read(cards):
    found = cards()
    assert found
    assert all(name == card.name for name, card in found.items())


@pytest.mark.parametrize("name", list(method_cards()))
def test_every_method_card_fits_its_class(name):
    card = method_cards()[name]
    method = method_class(card)
    for preset in card.presets:
        resolve_settings(card, method, preset, {})
    switches = {difference.switch.split()[0].split("=")[0] for difference in card.differences if difference.switch}
    assert switches <= set(method.Settings.model_fields)


@pytest.mark.parametrize("card", list(metric_cards().values()), ids=str)
def test_every_metric_card_names_code(card):
    assert callable(load_entry(card.entry))


@pytest.mark.parametrize("card", list(dataset_cards().values()), ids=lambda card: card.name)
def test_every_dataset_card_adds_up(card):
    assert card.licence
    assert card.citation
    assert card.source
    assert (card.simulated or card.semi_synthetic) == (card.entry is not None) == (not card.layouts)
    assert (card.settings is None) == (card.entry is None)
    if card.slides:
        assert len({slide.id for slide in card.slides}) == len(card.slides) == card.n_slides
        assert sum(slide.n_spots for slide in card.slides) == card.n_spots


@pytest.mark.parametrize(
    ("find", "name", "near"),
    [(find_method, "rigde", "ridge"), (find_dataset, "simulatd", "simulated"), (find_metric, "pc", "pcc")],
)
def test_unknown_names_list_the_nearest(find, name, near):
    with pytest.raises(UnknownNameError, match=rf"{name}': did you mean .*{near}.*known: "):
        find(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "expected TOML in .*mine.toml"),
        (CARD + 'colour = "red"\n', "colour: Extra inputs are not permitted"),
        (CARD + "draws = 0\n", "draws: Input should be greater than or equal to 1"),
        (CARD.replace("mine", "yours"), "expected name = 'mine' as the file, found 'yours'"),
        (CARD.replace("mine", "My Own"), "name: String should match"),
    ],
)
def test_broken_cards(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_card(path, MethodCard)


@pytest.mark.parametrize(
    ("model", "need", "known", "near"),
    [(MethodCard, "fetures", METHOD_NEEDS, "features"), (MetricCard, "dpeth", METRIC_NEEDS, "depth")],
)
def test_an_unknown_need_is_an_error_of_the_card(tmp_path, model, need, known, near):
    path = tmp_path / "mine.toml"
    more = 'direction = "lower"\n' if model is MetricCard else ""
    path.write_text(f'{CARD}{more}needs = ["{known[0]}", "{need}"]\n')
    with pytest.raises(DataError) as raised:
        read_card(path, model)
    said = f"needs.1: expected one of {', '.join(known)}, found '{need}'; did you mean {near}?"
    assert str(raised.value) == f"card {path}: {said}"


BASE = """
name = "base"
title = "Base"
entry = "a:B"
original = "there"
notes = ["one", "two"]
differences = [
  { topic = "a", paper = "1", original = "2", default = "1", why = "so" },
  { topic = "b", paper = "1", original = "2", switch = "b", default = "1", why = "so" },
]
[presets]
small = { k = 1, m = 2 }
fast = { k = 3 }
"""


@pytest.fixture
def extending(tmp_path):
    """Read a card that extends another."""

    def read(more, base=BASE):
        (tmp_path / "base.toml").write_text(base)
        (tmp_path / "mine.toml").write_text(f'name = "mine"\nextends = "base"\n{more}')
        return read_card(tmp_path / "mine.toml", MethodCard)

    return read


def test_a_card_extends_another(extending):
    without = 'without = ["original", "presets.fast", "presets.small.m", "differences.a"]\n'
    mine = extending(f"""{without}
title = "Mine"
notes = ["three"]
differences = [{{ topic = "b", why = "else" }}, {{ topic = "c", paper = "", original = "", default = "", why = "" }}]
presets.small.k = 4
presets.test.k = 5
""")
    assert (mine.name, mine.title, mine.entry, mine.original, mine.notes) == ("mine", "Mine", "a:B", "", ["three"])
    assert mine.presets == {"small": {"k": 4}, "test": {"k": 5}}
    assert [(row.topic, row.switch, row.why) for row in mine.differences] == [("b", "b", "else"), ("c", "", "")]


@pytest.mark.parametrize(
    ("more", "base", "said"),
    [
        ('without = ["presets.fats"]', BASE, "mine.toml: unknown name in without 'fats': did you mean fast"),
        ('without = ["differences.d"]', BASE, "unknown name in without 'd'"),
        ('colour = "red"', BASE, "mine.toml: colour: Extra inputs"),
        ("presets = 3", BASE, "mine.toml: presets: Input should be a valid dictionary"),
        ("differences = [{ why = 'so' }]", BASE, r"mine.toml: differences.2.topic: Field required"),
        ("", 'extends = "other"', "mine.toml: expected to extend a card that stands alone, found that base.toml"),
        ("", "name =", "expected TOML in .*base.toml"),
    ],
)
def test_what_cannot_be_extended(extending, more, base, said):
    with pytest.raises(DataError, match=said):
        extending(more, base)


def test_a_card_to_extend_must_be_there(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "base"')
    with pytest.raises(DataError, match=r"expected to extend a card beside it, found no base\.toml"):
        read_card(tmp_path / "mine.toml", MethodCard)


def test_needs_are_what_the_harness_hands_over():
    assert set(METHOD_NEEDS) < {member.name for member in fields(SlideInputs)}
    assert set(WITHHELD) <= set(METHOD_NEEDS)
    assert set(METRIC_NEEDS) == {*KEYWORDS, DRAWS, SLIDES}


def test_controls_run_beside_every_method():
    expected = [
        *("linear-gaussian", "random-spot", "ridge", "ridge-rgb", "ridge-slide", "same-patient-mean"),
        *("spatial-neighbours", "total-counts", "training-mean"),
    ]
    assert [card.name for card in usual_controls("simulated")] == expected
    assert [card.name for card in usual_controls("real")] == sorted([*expected, "ridge-refit"])
    assert not MethodCard(name="m", title="m", entry="m:M", kind="ceiling").runs_beside("real")


@pytest.mark.parametrize("model", [DatasetCard, MetricCard])
def test_cards_refuse_unknown_fields(tmp_path, model):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "Mine"\nentry = "a:b"\ndirection = "lower"\ncolour = "red"\n')
    with pytest.raises(DataError, match="not permitted"):
        read_card(path, model)


def test_settings_are_defaults_then_preset_then_overrides(card):
    assert resolve_settings(card, Mine, "paper", {}).k == 3
    assert resolve_settings(card, Mine, "small", {}).k == 1
    found = resolve_settings(card, Mine, "small", {"k": "7", "name": "7up", "flags": "[1, 2]"})
    assert found == Settings(k=7, name="7up", flags=[1, 2])


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        ({"kk": "1"}, UnknownNameError, "unknown setting of mine 'kk': did you mean k"),
        ({"k": "many"}, SettingError, "setting of mine: k: .*'many'.*stbench methods show mine"),
        ({"k": "1.5"}, SettingError, "k: "),
    ],
)
def test_wrong_settings(card, overrides, error, said):
    with pytest.raises(error, match=said):
        resolve_settings(card, Mine, "paper", overrides)


def test_presets_have_known_names(card):
    check_preset("paper", [card])
    with pytest.raises(UnknownNameError, match="did you mean small"):
        check_preset("smal", [card])


def test_a_method_from_a_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(METHOD.format(card={"title": "My own", "kind": "generative", "draws": 4}))
    card = find_method(f"{path}:Mine")
    assert (card.name, card.title, card.kind, card.draws) == ("mine", "My own", "generative", 4)


@pytest.mark.parametrize(
    ("card", "error", "said"),
    [
        ({"draws": 0}, DataError, "own.py:Mine: draws"),
        ({"colour": "red"}, DataError, "colour"),
        ({"name": "ridge"}, UserError, "calls itself 'ridge', the name of stbench.methods.controls.ridge:Ridge"),
    ],
)
def test_a_bad_card_in_a_file(tmp_path, card, error, said):
    path = tmp_path / "own.py"
    path.write_text(METHOD.format(card=card))
    with pytest.raises(error, match=said):
        find_method(f"{path}:Mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [("import no_such_module", "no_such_module"), ("def (", "invalid syntax"), ("", "found no such name")],
)
def test_a_file_that_is_no_method(tmp_path, text, said):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        find_method(f"{path}:Mine")


def test_an_entry_point_must_not_take_a_name(monkeypatch):
    point = EntryPoint("ridge", "other:Ridge", "stbench.methods")
    monkeypatch.setattr(plugins, "installed", lambda kind: [point])
    with pytest.raises(UserError, match="two methods are named 'ridge'"):
        method_cards()


def test_an_entry_point_is_listed_without_importing_it(monkeypatch):
    point = EntryPoint("far", "no_such_module:Far", "stbench.methods")
    monkeypatch.setattr(plugins, "installed", lambda kind: [point])
    assert method_cards()["far"].entry == "no_such_module:Far"
    with pytest.raises(DataError, match="no_such_module"):
        find_method("far")


def neighbouring(*series, patients=("p", "p", "p", "q")):
    slides = [
        {"id": f"S{n}", "section": f"A{n}", "patient": patient, "n_spots": 1} for n, patient in enumerate(patients, 1)
    ]
    return {"name": "mine", "title": "Mine", "slides": slides, "neighbours": series}


def test_neighbours_are_the_cuts_before_and_after():
    card = DatasetCard.model_validate(neighbouring(["S3", "S1", "S2"]))
    assert card.neighbours_of("S1") == ["S3", "S2"]
    assert card.neighbours_of("A3") == ["A1"]  # named as asked
    assert card.neighbours_of("S4") == card.neighbours_of("") == card.neighbours_of("other") == []


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([["S1", "S9"]], "expected ids of slides of the card, found 'S9'"),
        ([["S1", "S2"], ["S2", "S3"]], "expected every slide in one series, found 'S2' twice"),
        ([["S3", "S4"]], "expected two or more slides of one patient, found S3, S4"),
        ([["S3"]], "expected two or more slides of one patient, found S3"),
    ],
)
def test_neighbours_that_cannot_be(series, said):
    with pytest.raises(ValidationError, match=said):
        DatasetCard.model_validate(neighbouring(*series))


def test_neighbours_of_the_cohorts():
    assert find_dataset("her2st").neighbours_of("C5") == ["C4", "C6"]
    assert find_dataset("her2st").neighbours_of("SPA121") == ["SPA120"]
    assert find_dataset("dlpfc").neighbours_of("151674") == ["151673"]  # 151675 lies 300 um away
    assert find_dataset("her2st-semisynthetic").neighbours_of("C5") == ["C4", "C6"]
    assert find_dataset("kidney").neighbours == []
