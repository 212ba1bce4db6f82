"""The same training as fairseq's, in less time on a CPU: the loss without its big matrices.

fairseq makes a matrix of tokens × vocabulary four times over (scores, log-probabilities and the
gradients of both), each of which is written to memory and read again. Here a thousand tokens at a
time go through all steps in one buffer, and the gradients are worked out on the way, as in Liger
Kernel (Hsu et al. 2024); padding is left out. Dropout draws its masks faster (`train.masks`).
Names, parameters, random numbers and checkpoints stay fairseq's.
"""

from typing import Any

import torch
from torch import Tensor

from train.masks import dropout, same_as_torch

# Tokens at a time: their scores, for 10,000 subwords, are 40 MB.
_CHUNK = 1024
# A million exponentials of 70 together are below the greatest float32.
_SAFE_EXPONENT = 70.0
# So many numbers torch draws in the time that it takes to fetch and to store its generator's state.
_FEW = 30_000


class _SmoothedLoss(torch.autograd.Function):
    """Sums of the label-smoothed and of the plain negative log-likelihood, in nats.

    `features` are (tokens, dimensions), `weight` (vocabulary, dimensions), `target` (tokens).
    With V words, smoothing ε and q = ε / (V − 1), fairseq's loss of a token is
    (1 − ε − q) · −log p(target) + q · Σ −log p, whose gradient by the scores is
    p − q − (1 − ε − q) · [target].
    """

    @staticmethod
    def forward(
        context: Any, features: Tensor, weight: Tensor, target: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        words = weight.shape[0]
        share = epsilon / (words - 1)
        likelihood = log_sums = features.new_zeros(())
        needed = any(context.needs_input_grad)
        by_features = torch.empty_like(features) if needed else None
        by_weight = torch.zeros_like(weight) if needed else None
        # One buffer for all: fresh memory would have to be cleared by the kernel first.
        buffer = features.new_empty(min(_CHUNK, len(features)), words)
        # A product of vectors is at most that of their lengths: most often no score can overflow.
        bound = features.norm(dim=1).amax() * weight.norm(dim=1).amax()
        overflows = bound > _SAFE_EXPONENT
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK]
            wanted = target[start : start + _CHUNK, None]
            scores = torch.mm(part, weight.T, out=buffer[: len(part)])
            of_target = scores.gather(1, wanted)
            highest = scores.amax(1, keepdim=True) if overflows else None
            if highest is not None:
                scores.sub_(highest)
            total = scores.exp_().sum(1, keepdim=True)
            log_sum = total.log() if highest is None else total.log() + highest
            likelihood = likelihood + (log_sum - of_target).sum()
            log_sums = log_sums + log_sum.sum()
            if by_features is not None and by_weight is not None:
                torch.mm(scores, weight, out=by_features[start : start + _CHUNK])
                by_features[start : start + _CHUNK].div_(total)
                by_weight.addmm_(scores.T, part / total)
        # Sums over the vocabulary need no scores: they are products with the sum of the weights.
        summed = weight.sum(0)
        smooth = words * log_sums - (features @ summed).sum()
        if by_features is not None and by_weight is not None:
            by_features.sub_(share * summed).sub_((1 - epsilon - share) * weight[target])
            by_weight.sub_(share * features.sum(0))
            by_weight.index_add_(0, target, features, alpha=-(1 - epsilon - share))
            context.save_for_backward(by_features, by_weight)
        context.mark_non_differentiable(likelihood)
        return (1 - epsilon - share) * likelihood + share * smooth, likelihood

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        by_features, by_weight = context.saved_tensors
        return gradient * by_features, gradient * by_weight, None, None


def smoothed_loss(
    features: Tensor, weight: Tensor, target: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """(loss with label smoothing, loss without), summed over the tokens, in nats."""
    loss, likelihood = _SmoothedLoss.apply(features, weight, target, epsilon)  # type: ignore[no-untyped-call]
    return loss, likelihood


def install() -> None:
    """Put the fast loss and dropout in the place of fairseq's, wherever they are the same."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
    from fairseq.modules import FairseqDropout

    class FastLoss(LabelSmoothedCrossEntropyCriterion):  # type: ignore[misc]
        def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
            projection = getattr(getattr(model, "decoder", None), "output_projection", None)
            if not (
                reduce
                # On a GPU these matrices take no time, and each small operation some.
                and not next(model.parameters()).is_cuda
                and type(projection) is torch.nn.Linear
                and projection.bias is None
                and projection.weight.dtype == torch.float32
                and not torch.is_autocast_enabled()
                and not self.ignore_prefix_size
                and not self.report_accuracy
            ):
                return super().forward(model, sample, reduce)
            features, _ = model(**sample["net_input"], features_only=True)
            target = sample["target"]
            real = target.ne(self.padding_idx)
            loss, likelihood = smoothed_loss(
                features[real], projection.weight, target[real], self.eps
            )
            size = target.size(0) if self.sentence_avg else sample["ntokens"]
            output = {
                "loss": loss.data,
                "nll_loss": likelihood.data,
                "ntokens": sample["ntokens"],
                "nsentences": target.size(0),
                "sample_size": size,
            }
            return loss, size, output

    CRITERION_REGISTRY["label_smoothed_cross_entropy"] = FastLoss
    if same_as_torch():
        FairseqDropout.forward = _dropout


def _dropout(self: Any, x: Tensor, inplace: bool = False) -> Tensor:
    """FairseqDropout.forward, with masks that are drawn faster on a CPU."""
    if self.p == 0 or not (self.training or self.apply_during_inference):
        return x
    if x.device.type == "cpu" and x.numel() > _FEW:
        return dropout(x, self.p, inplace)
    return torch.nn.functional.dropout(x, self.p, True, inplace)
