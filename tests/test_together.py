"""Steps of the optimiser and attention, done in fewer operations, give what fairseq's give."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from train import attention, together


def steps(monkeypatch: pytest.MonkeyPatch, ours: bool, decay: float) -> list[Tensor]:
    """Norms, Adam's states and parameters after a few steps; one has no gradient at first."""
    from fairseq import utils
    from fairseq.optim.adam import Adam
    from fairseq.optim.fairseq_optimizer import FairseqOptimizer

    used, original = [], together.adam
    monkeypatch.setattr(together, "adam", lambda *a, **k: (used.append(1), original(*a, **k)))
    with monkeypatch.context() as patched:
        for place, name in ((Adam, "step"), (FairseqOptimizer, "multiply_grads"),
                            (utils, "multi_tensor_l2norm_available")):  # fmt: skip
            patched.setattr(place, name, getattr(place, name))
        patched.setattr(utils, "multi_tensor_total_norm", None, raising=False)
        if ours:
            together.install()
        torch.manual_seed(1)
        parameters = [torch.nn.Parameter(torch.randn(size)) for size in (3, 7, 5)]

        class Wrapper(FairseqOptimizer):  # type: ignore[misc]
            params = parameters

            def __init__(self) -> None:
                pass

        adam = Adam(parameters, lr=0.1, betas=(0.9, 0.98), weight_decay=decay)
        norms = []
        for step in range(4):
            for parameter in parameters[: 2 if step < 2 else 3]:
                parameter.grad = torch.randn(parameter.shape)
            Wrapper().multiply_grads(1 / 3)
            Wrapper().multiply_grads(torch.tensor(1.5))
            assert (utils.multi_tensor_total_norm is not None) == ours
            norms.append(utils.clip_grad_norm_(parameters, 0.2))
            adam.step()
    assert len(used) == (4 if ours else 0)
    states = [adam.state[parameter] for parameter in parameters]
    assert [state["step"] for state in states] == [4, 4, 2]
    moments = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    return [*norms, *moments, *(parameter.detach() for parameter in parameters)]


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adam_norm_and_scaling_are_fairseq_s(monkeypatch: pytest.MonkeyPatch, decay: float) -> None:
    ours, theirs = (steps(monkeypatch, which, decay) for which in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("of_decoder", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("future_hidden", [True, False])
def test_attention_is_fairseq_s(
    monkeypatch: pytest.MonkeyPatch, of_decoder: bool, padded: bool, future_hidden: bool
) -> None:
    from fairseq.modules import MultiheadAttention

    calls = []

    def counted(*arguments: Tensor) -> Tensor:
        calls.append(arguments)
        return scaled_dot_product_attention(*arguments)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", counted)
    torch.manual_seed(1)
    module = MultiheadAttention(
        8, 2, self_attention=not of_decoder, encoder_decoder_attention=of_decoder
    ).double()
    query = torch.randn(5, 3, 8, dtype=torch.float64)
    memory = torch.randn(5, 3, 8, dtype=torch.float64) if of_decoder else query
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    hidden = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1) if future_hidden else None
    results = []
    for ours in (True, False):
        with monkeypatch.context() as patched:
            patched.setattr(MultiheadAttention, "forward", MultiheadAttention.forward)
            if ours:
                attention.install()
            x, y, model = query.clone().requires_grad_(), memory.clone(), copy.deepcopy(module)
            y = y.requires_grad_() if of_decoder else x
            out, weights = model(
                x, y, y, key_padding_mask=padding if padded else None, need_weights=False,
                static_kv=of_decoder, attn_mask=hidden,
            )  # fmt: skip
            assert weights is None and len(calls) == 1  # the first time alone
            out.pow(2).sum().backward()
            results.append([out.detach(), x.grad, y.grad, model.k_proj.weight.grad])
    for one, other in zip(*results, strict=True):
        # fairseq's softmax is in single precision in any case.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_attention_weights_are_given_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fairseq.modules import MultiheadAttention

    with monkeypatch.context() as patched:
        patched.setattr(MultiheadAttention, "forward", MultiheadAttention.forward)
        attention.install()
        x = torch.randn(5, 3, 8)
        _, weights = MultiheadAttention(8, 2, self_attention=True)(x, x, x, need_weights=True)
        assert weights.sum(-1).allclose(torch.ones(3, 5))
