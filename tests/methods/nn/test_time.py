"""Features of the noise time; the released values are compared in tests/evaluation/test_parity.py."""

import math

import pytest
import torch

from stbench.methods.nn.time import fourier, sinusoid


def test_sinusoid_of_hand_sized_width():
    t = torch.tensor([0.0, 0.5])
    expected = [[1, 1, 0, 0], [math.cos(0.5), math.cos(0.005), math.sin(0.5), math.sin(0.005)]]
    torch.testing.assert_close(sinusoid(t, 4), torch.tensor(expected))


def test_odd_widths_end_with_a_zero():
    t = torch.tensor([0.3, 0.9])
    torch.testing.assert_close(sinusoid(t, 7)[:, :6], sinusoid(t, 6))
    assert sinusoid(t, 7)[:, 6].tolist() == [0, 0]


@pytest.mark.parametrize("features", [sinusoid, fourier])
def test_sine_and_cosine_belong_together(features):
    found = features(torch.rand(9, generator=torch.Generator().manual_seed(0)), 16)
    torch.testing.assert_close(found[:, :8] ** 2 + found[:, 8:] ** 2, torch.ones(9, 8))


def test_lowest_fourier_frequency_is_one_cycle_and_the_highest_e6():
    slow = fourier(torch.tensor([0.25, 1.0]), 8)[:, 0]
    torch.testing.assert_close(slow, torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0)
    period = math.exp(-6)
    fast = fourier(torch.tensor([0.0, period]), 8)
    torch.testing.assert_close(fast[0, 3], fast[1, 3], atol=1e-4, rtol=0)
