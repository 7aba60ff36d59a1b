"""`stbench encode`."""

from .conftest import TINY


def test_a_cohort_is_encoded_once_and_runs_find_it(stbench):
    words = ["encode", "--dataset", "simulated", "--encoder", "mean-rgb", *TINY, "--patch", "60px"]
    first = stbench(*words)
    assert first.code == 0, first.err
    assert [line.split()[1:3] for line in first.out.splitlines()[2:]] == [["16", "3"]] * 3
    assert stbench(*words).code == 0


def test_named_encoders_are_listed_and_need_weights(stbench):
    ended = stbench("encode", "--list")
    assert "MahmoodLab/UNI2-h" in ended.out
    assert "expected a local weight file, found none" in stbench("encode", "--encoder", "uni", *TINY).reason
    assert "did you mean" in stbench("encode", "--encoder", "unii", *TINY).reason
