"""The code of a third-party method is part of what makes two runs the same run."""

import hashlib
import json
import sys

import pytest

from stbench.catalogue import MethodCard, code_of, method_cards
from stbench.errors import UserError
from stbench.evaluation.folder import KEY, read_key
from stbench.evaluation.record import read_record
from stbench.evaluation.run import run_method

from .conftest import DUMMIES

EDIT = "\n# edited\n"


@pytest.fixture
def mine(tmp_path):
    """A method in a file that may be edited."""
    path = tmp_path / "mine.py"
    path.write_text(DUMMIES.read_text())
    return path


def card_of(path, name="SlideMean"):
    return MethodCard(name="mine", title="Mine", entry=f"{path}:{name}")


def edit(path):
    path.write_text(path.read_text() + EDIT)


def test_the_hash_is_that_of_the_file(mine):
    assert code_of(card_of(mine)) == hashlib.sha256(mine.read_bytes()).hexdigest()


def test_methods_of_this_repository_have_none():
    assert {code_of(card) for card in method_cards().values()} == {None}


def test_a_module_of_a_package(tmp_path, monkeypatch):
    (tmp_path / "some_far_package.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    card = MethodCard(name="far", title="Far", entry="some_far_package:Far")
    assert code_of(card) == hashlib.sha256(b"x = 1").hexdigest()
    assert "some_far_package" not in sys.modules
    assert code_of(card.model_copy(update={"entry": "no_such_package.here:Far"})) is None


def test_an_edited_method_is_refused(task, mine, tmp_path):
    out = tmp_path / "run"
    before = code_of(card_of(mine))
    assert run_method(task, card_of(mine), folder=out).code == before
    edit(mine)
    with pytest.raises(UserError) as error:
        run_method(task, card_of(mine), folder=out, resume=True)
    changed = f"{before[:8]} -> {code_of(card_of(mine))[:8]}"
    assert str(error.value) == (
        f"{out} belongs to another run: the code of mine changed since this folder was begun: {changed}; "
        "choose another --out"
    )
    assert read_record(out).code == before


def test_folders_of_before_are_read_and_continued(task, mine, tmp_path):
    out = tmp_path / "run"
    record = run_method(task, card_of(mine), folder=out)
    said = json.loads((out / KEY).read_text())
    assert said.pop("code") == record.code
    del said["seal"]
    (out / KEY).write_text(json.dumps(said))
    assert read_key(out).code is None
    assert run_method(task, card_of(mine), folder=out, resume=True) == record


def test_files_of_methods_of_this_repository_say_nothing_new(task, tmp_path):
    record = run_method(task, method_cards()["training-mean"], folder=tmp_path / "run")
    assert record.code is None
    assert set(json.loads((tmp_path / "run" / KEY).read_text())) == {
        "task", "method", "entry", "settings", "seed", "draws", "seal"
    }  # fmt: skip
