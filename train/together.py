"""fairseq's Adam and the norm and scaling of its gradients, for all parameters in a few calls.

A transformer has its parameters in some two hundred tensors, and fairseq goes through them one by
one, in a dozen small operations each: for a small model on a GPU a third of the time goes into
starting them. torch has the same operations for lists of tensors. Numbers and states stay
fairseq's.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def install() -> None:
    """Put them in the place of fairseq's."""
    from fairseq import utils
    from fairseq.optim.adam import Adam
    from fairseq.optim.fairseq_optimizer import FairseqOptimizer

    one_by_one = Adam.step

    def step(self: Any, closure: Callable[[], Any] | None = None) -> Any:
        plain = all(
            parameter.dtype == torch.float32 and not group.get("amsgrad")
            for group in self.param_groups
            for parameter in group["params"]
        )
        if not plain or closure is not None:
            return one_by_one(self, closure)
        for group in self.param_groups:
            adam(self.state, **group)

    Adam.step = step
    FairseqOptimizer.multiply_grads = _multiply_gradients
    # Where fairseq looks for the norm that NVIDIA's apex has.
    utils.multi_tensor_l2norm_available = True
    utils.multi_tensor_total_norm = torch.nn.utils.get_total_norm


def adam(
    states: dict[Tensor, dict[str, Any]],
    params: list[Tensor],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    **_: Any,
) -> None:
    """A step of Adam (Kingma & Ba 2015), its weight decay decoupled (Loshchilov & Hutter 2019).

    `states` are kept by parameter as fairseq keeps them, in its checkpoints too.
    """
    by_step = defaultdict(list)
    for parameter in params:
        if parameter.grad is not None:
            state = states[parameter]
            if not state:
                state |= {"step": 0, "exp_avg": torch.zeros_like(parameter),
                          "exp_avg_sq": torch.zeros_like(parameter)}  # fmt: skip
            state["step"] += 1
            by_step[state["step"]].append(parameter)
    beta1, beta2 = betas
    for step, parameters in by_step.items():
        values = [parameter.data for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means = [states[parameter]["exp_avg"] for parameter in parameters]
        squares = [states[parameter]["exp_avg_sq"] for parameter in parameters]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_add_(divisors, eps)
        if weight_decay:
            torch._foreach_add_(values, values, alpha=-weight_decay * lr)
        size = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        torch._foreach_addcdiv_(values, means, divisors, value=-size)


def _multiply_gradients(self: Any, factor: float | Tensor) -> None:
    gradients = [parameter.grad for parameter in self.params if parameter.grad is not None]
    if isinstance(factor, Tensor) and gradients:
        factor = factor.to(gradients[0])
    torch._foreach_mul_(gradients, factor)
