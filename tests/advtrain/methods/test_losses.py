"""Rewards, margins and their statistics against numbers worked out by hand."""

import math

import pytest
import torch

from advtrain.methods import losses


def test_zero_margins_cost_ln_2():
    assert losses.dpo_loss(torch.zeros(5)).item() == pytest.approx(math.log(2))


def test_the_loss_of_a_margin_is_the_log_of_one_plus_e_to_its_negative():
    assert losses.dpo_loss(torch.tensor([2.0])).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_a_signature_by_hand():
    signature = losses.signature(torch.tensor([1.0, -1.0, 0.0, math.nan]))
    assert signature.count == 3
    assert signature.mean == 0.0
    assert signature.std == pytest.approx(math.sqrt(2 / 3))
    assert signature.accuracy == pytest.approx(1 / 3)
    assert signature.near_zero == pytest.approx(1 / 3)
    z = math.sqrt(1.5)
    weights = [math.exp(-z), math.exp(z), 1.0]
    expected = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    assert signature.effective_samples == pytest.approx(expected)


def test_equal_margins_weigh_the_same():
    assert losses.signature(torch.full((4,), 0.3)).effective_samples == pytest.approx(4)


def test_no_finite_margin_is_an_error_not_a_number():
    with pytest.raises(ValueError, match="no finite margin"):
        losses.signature(torch.tensor([math.nan]))
