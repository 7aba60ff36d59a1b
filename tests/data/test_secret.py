"""Secret seeds: their file, and what may be known of what is drawn from them."""

import hashlib
import hmac
import os
import stat

import numpy as np
import pytest

from stbench.data.secret import Secret, open_secret, read_secret
from stbench.data.semisynthetic import SemisyntheticSettings
from stbench.data.simulator import SimulationSettings, open_simulated, simulate_slide
from stbench.errors import SettingError

TINY = SimulationSettings(n_patients=2, sections_per_patient=1, n_spots=30, n_genes=60, um_per_px=4.0)
ONE, OTHER = (Secret(hashlib.sha256(text.encode()).hexdigest()) for text in ("one", "other"))


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file beside the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "kept" / "board.seed"


def test_a_file_is_made_once_for_its_owner_alone(file):
    secret, made = open_secret(file)
    assert made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == f"{secret.seed}\n"
    assert open_secret(file) == (secret, False)
    assert open_secret(file.with_name("another"))[0] != secret


def test_hash_and_derived_seeds_are_those_of_the_standard():
    assert ONE.sha256 == hashlib.sha256(ONE.seed.encode()).hexdigest()
    expected = hmac.digest(bytes.fromhex(ONE.seed), b'["fold", "A1", 2]', "sha256")
    assert ONE.derived("fold", "A1", 2).seed == expected.hex()
    assert len({ONE.derived(*words).seed for words in (("a", "b"), ("ab",), ("b", "a"), ("a",))}) == 4


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "found 0 of them"),
        ("ab" * 31, "found 62 of them"),
        ("ab" * 600, "found 1024 of them"),
        ("x" * 64, "found other characters"),
        ("ab" * 31 + "\n\nab", "found other characters"),
        ("\u00e4" * 64, "found other characters"),
    ],
)
def test_bad_seeds_are_told_apart_and_not_repeated(file, content, found):
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(SettingError, match=f"--secret: expected 64 hexadecimal digits in .*{found}; give") as told:
        open_secret(file)
    assert not content or content not in str(told.value)


def test_capitals_and_blanks_are_the_same_seed(file):
    file.parent.mkdir()
    file.write_text(f"  {ONE.seed.upper()}\r\n")
    assert open_secret(file) == (ONE, False)


def test_files_that_cannot_be_read_or_made(file, tmp_path):
    with pytest.raises(SettingError, match=r"expected a file with a seed at .*: Is a directory; give"):
        open_secret(tmp_path / "here" / "..")
    with pytest.raises(SettingError, match=r"expected a file with a seed at .*: No such file or directory; give"):
        read_secret(file)
    (tmp_path / "plain").write_text("")
    with pytest.raises(SettingError, match=r"expected to write a seed to .*; choose another place"):
        open_secret(tmp_path / "plain" / "board.seed")
    if os.geteuid() != 0:
        file.parent.mkdir()
        file.touch(mode=0o000)
        with pytest.raises(SettingError, match="Permission denied"):
            open_secret(file)


def test_no_seed_is_kept_where_methods_work(file, tmp_path):
    for inside in ("board.seed", "kept/board.seed", str(tmp_path / "here" / "board.seed")):
        with pytest.raises(SettingError, match=r"--secret: expected a file outside .*here, where methods work"):
            open_secret(tmp_path / "here" / inside)
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("settings", [SimulationSettings(), SemisyntheticSettings()])
def test_no_dump_or_text_of_settings_holds_the_seed(settings):
    keyed = settings.keyed(ONE)
    assert ONE.seed not in f"{keyed!r} {keyed} {keyed.model_dump_json()} {keyed.model_dump()} {ONE!r} {keyed.digest()}"
    assert len({settings.digest(), keyed.digest(), settings.keyed(OTHER).digest()}) == 3
    assert keyed.model_dump() == settings.model_dump()
    assert settings.secret is None


@pytest.mark.parametrize("settings", [SimulationSettings(), SemisyntheticSettings()])
def test_every_stream_is_the_secrets_alone(settings):
    """Another purpose, place, setting or secret seed draws other numbers; the same draws the same."""
    place = 3 if isinstance(settings, SimulationSettings) else "A1"
    elsewhere = 4 if isinstance(settings, SimulationSettings) else "A2"
    changed = settings.model_copy(update={"seed": 1})
    asked = [
        settings.stream("noise", place),
        settings.keyed(ONE).stream("noise", place),
        settings.keyed(OTHER).stream("noise", place),
        settings.keyed(ONE).stream("other", place),
        settings.keyed(ONE).stream("noise", elsewhere),
        changed.keyed(ONE).stream("noise", place),
    ]
    drawn = [generator.integers(2**62) for generator in asked]
    assert len(set(drawn)) == len(drawn)
    assert settings.keyed(ONE).stream("noise", place).integers(2**62) == drawn[1]


def test_a_simulated_slide_follows_the_secret_seed_bit_for_bit():
    (first, pixels), (again, same), (other, different), (public, _) = (
        simulate_slide(settings, 0, 0) for settings in (TINY.keyed(ONE), TINY.keyed(ONE), TINY.keyed(OTHER), TINY)
    )
    assert (first.X != again.X).nnz == 0
    np.testing.assert_array_equal(pixels, same)
    for one in (other, public):
        assert (first.X != one.X).nnz > 0.5 * first.X.nnz
        assert np.corrcoef(first.X.toarray().ravel(), one.X.toarray().ravel())[0, 1] < 0.5
    assert not np.array_equal(pixels, different)


def test_cohorts_say_the_hash_and_lie_apart(tmp_path):
    keyed, public = (open_simulated(settings, tmp_path) for settings in (TINY.keyed(ONE), TINY))
    assert (keyed.secret, public.secret, public.about) == (ONE.sha256, None, "")
    assert ONE.sha256 in keyed.about
    assert keyed.of_fold(["P01S1"]) is keyed
    slides = [cohort.load("P01S1") for cohort in (keyed, public)]
    assert (slides[0].counts != slides[1].counts).nnz
    assert len(list((tmp_path / "simulated").iterdir())) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ONE.seed.encode() in path.read_bytes()]
