"""Semi-synthetic features under a secret seed: per fold, not to be made again, and with ceilings that hold."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from stbench.data.secret import Secret
from stbench.data.semisynthetic import best_from_own_spot, open_semisynthetic
from stbench.data.semisynthetic.cohort import make_slides
from stbench.data.semisynthetic.features import noisy_expression
from stbench.data.slide import FEATURES_KEY
from stbench.errors import SettingError
from stbench.metrics.accuracy import pcc

from .test_semisynthetic import SMALL, array, cohort, expression, slide

TRAIN = ("A1", "A2", "B1")
N_DRAWS = 40


def seed(number):
    return Secret(hashlib.sha256(f"seed {number}".encode()).hexdigest())


@pytest.fixture(scope="module")
def base_slides():
    return [slide(f"{patient}{section}", 10 * i + section) for i, patient in enumerate("ABC") for section in (1, 2)]


def copied(slides):
    return [replace(one, adata=one.adata.copy()) for one in slides]


def opened(slides, tmp_path, settings=None, reads=None):
    return open_semisynthetic(settings or SMALL.keyed(seed(0)), cohort(slides, reads), tmp_path / "data", tmp_path)


def louder(one):
    """The slide with gene G1 silent and G0 a hundred times as strong: over all slides, G0 would replace a gene."""
    adata = one.adata.copy()
    counts = adata.X.toarray()
    counts[:, 0], counts[:, 1] = 100 * counts[:, 0], 0
    adata.X = type(adata.X)(counts)
    return replace(one, adata=adata)


def test_without_a_fold_there_are_no_slides(base_slides, tmp_path):
    made = opened(base_slides, tmp_path)
    assert made.secret == seed(0).sha256
    assert made.secret in made.about
    with pytest.raises(SettingError, match="slide A1: expected a fold to make it for"):
        made.load("A1")
    assert opened(base_slides, tmp_path, SMALL).of_fold(TRAIN).load("A1").features is not None


def test_genes_centre_scale_and_key_come_from_training_slides_alone(base_slides, tmp_path):
    """What the other slides hold moves nothing but these slides, where all slides together would choose otherwise."""
    changed = [one if one.id in TRAIN else louder(one) for one in base_slides]
    first, second = (
        opened(slides, tmp_path / name).of_fold(TRAIN) for name, slides in (("a", base_slides), ("b", changed))
    )
    for id_ in TRAIN:
        one, other = first.load(id_), second.load(id_)
        assert one.genes == other.genes
        np.testing.assert_array_equal(one.features, other.features)
    assert not np.array_equal(first.load("C1").features, second.load("C1").features)
    public = [
        opened(slides, tmp_path / name, SMALL).load("A1") for name, slides in (("a", base_slides), ("b", changed))
    ]
    assert not np.array_equal(public[0].features, public[1].features)
    assert set(public[0].genes) != set(public[1].genes)


def test_each_fold_is_made_once_and_shares_nothing_with_another(base_slides, tmp_path):
    reads = []
    made = opened(base_slides, tmp_path, reads=reads)
    one, same, other = (made.of_fold(train).load("C1") for train in (TRAIN, TRAIN[::-1], ("A1", "A2", "B2")))
    assert len(reads) == len(base_slides)
    assert len(list(tmp_path.glob("semisynthetic/*/C1.h5ad"))) == 2
    np.testing.assert_array_equal(one.features, same.features)
    assert one.adata.uns[FEATURES_KEY] == same.adata.uns[FEATURES_KEY] != other.adata.uns[FEATURES_KEY]
    y = np.log1p(one.counts.toarray())
    noise = [noise_of(made, y[:, :1]) for made in (one, other)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.3


def noise_of(made, centre):
    noisy = np.asarray(made.adata.layers["noisy_expression"], dtype=np.float64)[:, :1]
    return noisy - np.sqrt(SMALL.share) * centre


def test_the_same_secret_is_the_same_bit_for_bit_and_another_is_not(base_slides, tmp_path):
    settings = (SMALL.keyed(seed(0)), SMALL.keyed(seed(0)), SMALL.keyed(seed(1)))
    one, same, other = (
        opened(base_slides, tmp_path / str(place), asked).of_fold(TRAIN).load("C1")
        for place, asked in enumerate(settings)
    )
    np.testing.assert_array_equal(one.features, same.features)
    assert one.adata.uns[FEATURES_KEY] == same.adata.uns[FEATURES_KEY] != other.adata.uns[FEATURES_KEY]
    assert not np.array_equal(one.features, other.features)


def test_neither_seed_nor_fold_key_is_on_disk(base_slides, tmp_path):
    opened(base_slides, tmp_path).of_fold(TRAIN).load("C1")
    keys = [secret.seed.encode() for secret in (seed(0), seed(0).derived("fold", *TRAIN))]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > len(base_slides)
    assert not [path for path in files for key in keys if key in path.read_bytes()]


def regenerated(noisy, xy, slide_id):
    """The cheat: noise is a linear map of expression; make the map again from public settings, and solve for it."""
    n = len(xy)
    unit = noisy_expression(np.eye(n), xy, SMALL, slide_id) - np.sqrt(SMALL.share) * np.eye(n)
    return np.linalg.lstsq(np.sqrt(SMALL.share) * np.eye(n) + unit, noisy, rcond=None)[0]


def test_noise_of_the_public_seed_can_be_made_again_and_that_of_a_secret_one_cannot(base_slides):
    found = {}
    for name, settings in (("public", SMALL), ("secret", SMALL.keyed(seed(0)))):
        made = make_slides(copied(base_slides), settings, TRAIN)[-1]
        y = np.log1p(made.counts.toarray())
        noisy = np.asarray(made.adata.layers["noisy_expression"], dtype=np.float64)
        cheat = regenerated(noisy, made.xy.astype(np.float64), made.id)
        found[name] = [np.nanmean(pcc(y, guess)) for guess in (cheat, best_from_own_spot(made, made.genes))]
    cheat, ceiling = found["public"]
    assert cheat > 0.999 > 0.7 > ceiling
    cheat, ceiling = found["secret"]
    assert cheat < ceiling < 0.7


def redrawn(base, share):
    """(n_draws, n_genes) squared error of the ceiling for one slide under many secret seeds, and the expression."""
    errors = []
    for number in range(N_DRAWS):
        settings = SMALL.model_copy(update={"share": share}).keyed(seed(number))
        (made,) = make_slides(copied([base]), settings)
        y = np.log1p(made.counts.toarray())
        errors.append(np.square(best_from_own_spot(made, made.genes) - y).mean(axis=0))
    return np.array(errors), y


def bayes(y, share):
    """Expected squared error of the posterior mean of one gene under normal noise, by quadrature."""
    values, counts = np.unique(y, return_counts=True)
    p, variance = counts / counts.sum(), (1 - share) * y.var()
    reach = 6 * np.sqrt(variance)
    t = np.linspace(np.sqrt(share) * values.min() - reach, np.sqrt(share) * values.max() + reach, 4001)
    likelihood = np.exp(-np.square(t[:, None] - np.sqrt(share) * values) / (2 * variance))
    likelihood /= np.sqrt(2 * np.pi * variance)
    density, posterior = likelihood @ p, likelihood @ (p * values)
    return float(p @ values**2 - np.sum(posterior**2 / density) * (t[1] - t[0]))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.8])
def test_the_ceiling_of_any_draw_is_its_mean_over_draws_and_the_expected_error(base_slides, share):
    errors, y = redrawn(base_slides[0], share)
    standard_error = errors.std(axis=0, ddof=1) / np.sqrt(N_DRAWS)
    expected = np.array([bayes(gene, share) for gene in y.T])
    assert (np.abs(errors.mean(axis=0) - expected) < 3 * standard_error + 0.01 * expected).all()
    assert (np.abs(errors - errors.mean(axis=0)) < 0.15 * errors.mean(axis=0)).all()  # what one cohort shows
    assert (errors.mean(axis=0) <= (1 - share) * y.var(axis=0)).all()


def test_who_knows_the_noisy_values_and_many_draws_of_them_cannot_beat_the_ceiling():
    """An oracle fitted on noisy values and expression of other draws, over all genes and the spot's neighbours."""
    y, xy = expression(seed=3), array()
    near = np.argsort(np.square(xy[:, None] - xy[None]).sum(axis=-1), axis=1, kind="stable")[:, 1:9]

    def seen(number):
        noisy = noisy_expression(y, xy, SMALL.keyed(seed(number)), "A1")
        return np.column_stack([noisy, noisy[near].mean(axis=1), np.square(noisy), np.ones(len(noisy))])

    known = [seen(number) for number in range(N_DRAWS)]
    fitted = np.linalg.lstsq(np.concatenate(known), np.tile(y, (N_DRAWS, 1)), rcond=None)[0]
    errors = [np.square(seen(N_DRAWS + number) @ fitted - y).mean(axis=0) for number in range(N_DRAWS)]
    bound = np.array([bayes(gene, SMALL.share) for gene in y.T])
    assert (np.mean(errors, axis=0) > 0.97 * bound).all()


def test_a_fold_of_some_slides_reads_no_other(base_slides, tmp_path):
    reads = []
    made = opened(base_slides, tmp_path, reads=reads)
    kept = replace(made, refs=tuple(ref for ref in made.refs if ref.id != "C2")).of_fold(TRAIN)
    assert kept.load("C1").features is not None
    assert "C2" not in reads
    assert {*reads} == {one.id for one in base_slides} - {"C2"}
