"""Runs on cohorts with a secret seed: what can be forged, what bounds it, and what is public."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from stbench.catalogue import MethodCard, find_dataset
from stbench.data.secret import Secret
from stbench.data.simulator import best_possible, open_simulated
from stbench.errors import DataError, SettingError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.public import FILE_NAME, Published, is_public, marked, publish, read_published, run_hash
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.methods.registry import find_method
from stbench.pages.leaderboard import leaderboard

from .forgers import PUBLIC

SECRET, OTHER = (Secret(hashlib.sha256(text.encode()).hexdigest()) for text in ("a board", "another"))
FORGERS = Path(__file__).with_name("forgers.py")
FORGER = MethodCard(name="forger", title="Forger", entry=f"{FORGERS}:Forger")
N_DRAWS = 60


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def task_of(cache):
    """Makes the task of a secret seed, or of the public one."""

    def task(secret=None):
        settings = PUBLIC if secret is None else PUBLIC.keyed(secret)
        chosen = TaskSettings(genes=20, encoder="mean-rgb")
        return build_task(open_simulated(settings, cache), find_dataset("simulated"), chosen)

    return task


@pytest.fixture(scope="module")
def records(task_of, tmp_path_factory):
    """A record of the public seed and one of a secret one."""
    card, folder = find_method("training-mean"), tmp_path_factory.mktemp("runs")
    found = (run_method(task_of(secret), card, folder=folder / f"{bool(secret)}") for secret in (None, SECRET))
    return dict(zip(("public", "secret"), found, strict=True))


def test_a_forged_answer_is_perfect_under_the_public_seed_and_worthless_under_a_secret_one(task_of, tmp_path):
    scores = {}
    for name, secret in (("public", None), ("secret", SECRET)):
        task = task_of(secret)
        for card in (FORGER, find_method("best-from-truth")):
            record = run_method(task, card, folder=tmp_path / name / card.name)
            assert record.status == "done", record.reason
            scores[name, card.name] = record.metrics["pcc"].mean
    assert scores["public", "forger"] == pytest.approx(1, abs=1e-6)
    assert scores["public", "forger"] > scores["public", "best-from-truth"] + 0.05
    assert abs(scores["secret", "forger"]) < 0.3 < scores["secret", "best-from-truth"]


def test_each_seed_is_a_task_and_a_protocol_of_its_own(task_of):
    found = [task_of(secret).facts for secret in (None, SECRET, OTHER)]
    assert len({facts.hash for facts in found}) == len({facts.protocol_hash for facts in found}) == 3
    assert [facts.secret for facts in found] == [None, SECRET.sha256, OTHER.sha256]
    assert task_of(SECRET).facts == found[1]
    assert SECRET.seed not in found[1].model_dump_json()


def test_ceilings_are_the_mean_over_draws_of_what_they_do_not_know(cache):
    """Counts drawn again around the truth; and invisible factor and depth drawn again around what the image shows."""
    slide = open_simulated(PUBLIC.keyed(SECRET), cache).load("P01S1")
    genes = slide.genes[:20]
    best, adata = best_possible(slide, genes), slide.adata[:, genes]
    theta, hidden = adata.var["dispersion"].to_numpy(), adata.var["invisible_sd"].to_numpy()
    depth_sd, generator = PUBLIC.depth_sd, np.random.default_rng(0)
    full, visible = [], []
    for _ in range(N_DRAWS):
        full.append(drawn(adata.layers["expected"], theta, generator))
        sizes = [hidden * generator.normal(size=adata.shape), depth_sd * generator.normal(size=(len(adata), 1))]
        shift = sum(sizes) - 0.5 * (hidden**2 + depth_sd**2)
        visible.append(drawn(adata.layers["expected_visible"] * np.exp(shift), theta, generator))
    truth = np.log1p(adata.X.toarray())
    for draws, guess in ((full, best.full), (visible, best.visible)):
        errors = np.array([np.square(guess - one).mean() for one in draws])
        own = np.square(guess - truth).mean()
        assert abs(own - errors.mean()) < 4 * errors.std(ddof=1)
        for wrong in (guess * 0.97, guess + 0.03, np.mean(draws, axis=0).mean(axis=0) + 0 * guess):
            assert np.mean([np.square(wrong - one).mean() for one in draws]) > errors.mean()


def drawn(expected, theta, generator):
    rate = expected * generator.gamma(theta, 1 / theta, expected.shape)
    return np.log1p(generator.poisson(rate))


def test_what_is_public(records):
    public, secret = records["public"], records["secret"]
    real = public.model_copy(update={"task": public.task.model_copy(update={"simulated": False})})
    assert [is_public(record) for record in (public, secret, real)] == [True, False, False]
    runs = frozenset({run_hash(secret)})
    lists = [{SECRET.sha256: Published(SECRET.seed)}, {SECRET.sha256: Published(SECRET.seed, runs)}]
    late, closed = (marked([secret], list_)[0] for list_ in lists)
    (unknown,) = marked([secret], {OTHER.sha256: Published(OTHER.seed, runs)})
    assert [is_public(record) for record in (late, closed, unknown)] == [True, False, False]
    assert unknown == secret
    assert marked([late, closed], lists[1]) == [late, closed]
    assert late.task.hash == closed.task.hash == secret.task.hash


def test_a_run_is_known_by_what_it_predicts_of_which_task(records):
    run = records["secret"]
    other = [
        run.model_copy(update={"seed": 1}),
        run.model_copy(update={"predictions": {**run.predictions, "P01S1": "0" * 64}}),
        run.model_copy(update={"settings": {"a": 1}}),
        records["public"],
    ]
    assert len({run_hash(one) for one in [run, *other]}) == 5
    again = run.model_copy(update={"created": "later", "seconds": {"fit": 9.0}, "closed_with": True})
    assert run_hash(again) == run_hash(run)


def test_a_closed_board_prints_its_seed_and_the_list_marks_later_runs(records, tmp_path):
    file, boards = tmp_path / "seed", tmp_path / "boards"
    file.write_text(SECRET.seed)
    before = leaderboard([records["secret"]])
    assert SECRET.sha256 in before
    assert SECRET.seed not in before
    published = publish(file, boards, records.values())
    run = run_hash(records["secret"])
    assert published == read_published(boards) == {SECRET.sha256: Published(SECRET.seed, frozenset({run}))}
    after = leaderboard(marked([records["secret"]], published))
    assert f"the board is closed, its seed is published: `{SECRET.seed}`" in after
    assert leaderboard(marked([records["public"]], published)) == leaderboard([records["public"]])
    (tmp_path / "other").write_text(OTHER.seed)
    with pytest.raises(UserError, match=r"expected a run made with the seed in .*other.*found none; nothing was"):
        publish(tmp_path / "other", boards, records.values())
    later = records["secret"].model_copy(update={"seed": 7})
    assert publish(file, boards, [*records.values(), later]) == published
    assert (boards / FILE_NAME).read_text() == f"{SECRET.seed}\n  {run}\n"


def test_lists_and_files_that_hold_something_else(records, tmp_path):
    assert read_published(tmp_path / "nowhere") == {}
    (tmp_path / FILE_NAME).write_text(f"{SECRET.seed}\nnot a seed\n")
    with pytest.raises(
        DataError, match=r"expected a seed of 64 hexadecimal digits, or .* in line 2 of .*found 'not a seed'"
    ):
        read_published(tmp_path)
    (tmp_path / "file").write_text("short")
    with pytest.raises(SettingError, match="--publish-secret: expected 64 hexadecimal digits"):
        publish(tmp_path / "file", tmp_path / "boards", records.values())
