"""The fast loss and dropout give what fairseq's own give."""

import pytest
import torch

from train import fast
from train.masks import dropout, keep_mask, same_as_torch


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("tokens", [1, 37, 64])
def test_loss_and_gradients_are_fairseq_s(
    epsilon: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    monkeypatch.setattr(fast, "_CHUNK", 16)
    torch.manual_seed(1)
    features = torch.randn(tokens, 8, dtype=torch.float64)
    weight = torch.randn(50, 8, dtype=torch.float64) * 3
    target = torch.randint(0, 50, (tokens,))
    results = []
    for ours in (True, False):
        x, w = features.clone().requires_grad_(), weight.clone().requires_grad_()
        if ours:
            loss, likelihood = fast.smoothed_loss(x, w, target, epsilon)
        else:
            log_probabilities = torch.log_softmax(x @ w.T, -1)
            # They count one of the `words` twice only for padding, of which there is none here.
            loss, likelihood = label_smoothed_nll_loss(log_probabilities, target, epsilon, -1)
        (2.5 * loss).backward()
        results.append((loss.detach(), likelihood.detach(), x.grad, w.grad))
    for ours_value, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours_value, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("score", [60.0, 200.0])
def test_scores_that_would_overflow_and_such_that_hardly_do_not(score: float) -> None:
    x = torch.tensor([[score, 0.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss, _ = fast.smoothed_loss(x, weight, torch.tensor([1]), 0.0)
    assert loss.item() == 2 * score


def test_without_gradients_only_the_loss_is_worked_out() -> None:
    with torch.no_grad():
        target = torch.tensor([1, 1, 1])
        loss, likelihood = fast.smoothed_loss(torch.zeros(3, 2), torch.ones(4, 2), target, 0.0)
    assert loss.item() == likelihood.item() == pytest.approx(3 * 1.3862944)


@pytest.mark.parametrize("before", [0, 1, 311, 312, 623, 624, 1000])
@pytest.mark.parametrize("size", [1, 311, 312, 5000])
def test_masks_and_what_follows_are_torch_s(before: int, size: int) -> None:
    numbers = []
    for ours in (True, False):
        torch.manual_seed(7)
        torch.empty(before).random_()
        like = torch.empty(size)
        mask = keep_mask(like, 0.7) if ours else like.bernoulli_(0.7).bool()
        numbers.append((mask.clone(), torch.rand(5), torch.randn(40)))
    for ours_value, theirs in zip(*numbers, strict=True):
        assert torch.equal(ours_value, theirs)


def test_dropout_is_torch_s() -> None:
    results = []
    for function in (dropout, torch.nn.functional.dropout):
        torch.manual_seed(3)
        x = torch.linspace(-1, 1, 600).view(3, 200).requires_grad_()
        y = function(x, 0.3)
        y.pow(2).sum().backward()
        results.append((y.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_check_itself_leaves_the_generator_alone() -> None:
    torch.manual_seed(11)
    assert same_as_torch()
    first = torch.rand(3)
    torch.manual_seed(11)
    assert torch.equal(first, torch.rand(3))
