"""The noise schedule."""

import pytest
import torch

from stbench.methods.nn.sde import T_MIN, VESDE, training_time


def test_limits_are_those_of_the_paper():
    sde = VESDE()
    assert sde.sigma(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.01, 0.1**0.5, 10.0], rel=1e-5)


def test_time_is_the_inverse_of_sigma():
    t = torch.linspace(0, 1, 50)
    torch.testing.assert_close(VESDE(0.02, 7.0).time(VESDE(0.02, 7.0).sigma(t)), t, atol=1e-6, rtol=0)


def test_squared_diffusion_is_the_growth_of_the_variance():
    """g^2 = d sigma^2 / dt (Eq. 11)."""
    sde, t = VESDE(), torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    growth = (sde.sigma(t + 1e-5) ** 2 - sde.sigma(t - 1e-5) ** 2) / 2e-5
    torch.testing.assert_close(sde.g(t) ** 2, growth, rtol=1e-6, atol=0)


def test_training_times_end_where_sampling_ends():
    assert training_time(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([T_MIN, 1.0])
