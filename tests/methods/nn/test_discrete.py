"""Discrete schedules; their numbers are compared with the original in tests/methods/test_stem.py."""

import numpy as np
import pytest

from stbench.methods.nn.discrete import kept_steps, linear_schedule, respaced


def test_the_ends_of_the_schedule_are_those_of_the_paper():
    schedule = linear_schedule()
    assert len(schedule) == 1000
    assert schedule.betas[[0, -1]] == pytest.approx([1e-4, 0.02])
    assert schedule.alpha_bar[-1] == pytest.approx(4.036e-5, rel=1e-3)
    assert linear_schedule(100).betas[[0, -1]] == pytest.approx([1e-3, 0.2])


def test_the_posterior_is_that_of_two_normal_densities():
    """By Bayes: q(x_{k-1} | x_k, x_0) has the precision 1 / variance of q(x_{k-1} | x_0) plus alpha_k / beta_k."""
    s = linear_schedule(20)
    precision = 1 / (1 - s.alpha_bar_before[1:]) + (1 - s.betas[1:]) / s.betas[1:]
    np.testing.assert_allclose(s.posterior_variance[1:], 1 / precision)
    np.testing.assert_allclose(
        s.clean_weight[1:], np.sqrt(s.alpha_bar_before[1:]) / (1 - s.alpha_bar_before[1:]) / precision
    )
    np.testing.assert_allclose(s.noisy_weight[1:], np.sqrt(1 - s.betas[1:]) / s.betas[1:] / precision)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("7", [0, 166, 333, 500, 666, 832, 999]),  # 166.5 and 832.5 to the even neighbour
        ("2", [0, 999]),
        ("1", [0]),
        ("1000", range(1000)),
        ("2,1", [0, 499, 500]),
        ("ddim50", range(0, 1000, 20)),
        ("ddim1", [0]),
    ],
)
def test_steps_kept(spacing, expected):
    assert kept_steps(spacing, 1000).tolist() == list(expected)


def test_sections_share_the_remainder_from_the_first_on():
    assert kept_steps("4,3,3", 10).tolist() == list(range(10))


@pytest.mark.parametrize("spacing", ["1000", "50", "7", "10,10,10", "ddim8"])
def test_a_respaced_schedule_keeps_the_noise_levels(spacing):
    whole, kept = linear_schedule(), respaced(linear_schedule(), spacing)
    np.testing.assert_allclose(kept.alpha_bar, whole.alpha_bar[kept.steps], rtol=1e-12)
    assert len(kept) == len(kept.steps) == len(kept.posterior_log_variance)
    assert np.isfinite(kept.posterior_log_variance).all()


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        ("0", "at least 1 sampling step, found 0"),
        ("ddim0", "at least 1 sampling step, found 0"),
        ("10,0,10", "at least 1 sampling step, found 0"),
        ("1001", "at most the 1000 steps of the schedule, found 1001"),
        ("ddim1001", "at most the 1000 steps of the schedule, found 1001"),
        ("400,10,10", "at most the 334 steps of a section"),
        ("ddim999", "whole stride that keeps exactly N of 1000 steps"),
        ("ddim5,5", "expected one number behind ddim"),
        ("-3", "expected a number such as 50"),
        ("many", "found 'many'"),
        ("", "found ''"),
    ],
)
def test_impossible_spacings_are_refused(spacing, said):
    with pytest.raises(ValueError, match=said):
        kept_steps(spacing, 1000)
