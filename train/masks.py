"""Dropout masks with torch's own random numbers, drawn in half the time on a CPU.

On a CPU that is not Intel's, torch draws each number of a mask by itself, through a lock-free but
slow chain of calls; NumPy has the same generator (MT19937) in a tight loop. The numbers, their
order and the generator's state afterwards are torch's, so that a training does not change.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Where torch.get_rng_state keeps the numbers left, the place of the next, and the 624 words.
_LEFT, _NEXT, _WORDS = slice(8, 12), slice(16, 24), slice(24, 24 + 624 * 8)
_bits = np.random.MT19937()
_generator = np.random.Generator(_bits)


def _draw(count: int) -> NDArray[np.uint64]:
    """Draw 64-bit numbers from torch's generator."""
    state = torch.get_rng_state()
    raw = state.numpy()
    left, place = raw[_LEFT].view(np.int32), raw[_NEXT].view(np.uint64)
    words = raw[_WORDS].view(np.uint64)
    start = 624 if left[0] == 1 else int(place[0])  # 1: all are used up, or none was made yet
    _bits.state = {
        "bit_generator": "MT19937",
        "state": {"key": words.astype(np.uint32), "pos": start},
    }
    drawn = _generator.integers(0, 2**64 - 1, size=count, dtype=np.uint64, endpoint=True)
    after = _bits.state["state"]
    words[:], place[0], left[0] = after["key"], after["pos"], 625 - after["pos"]
    torch.set_rng_state(state)
    return drawn


def keep_mask(like: Tensor, keep: float) -> Tensor:
    """As `torch.empty_like(like).bernoulli_(keep)`, but of booleans."""
    drawn = _draw(like.numel())
    # torch makes a double in [0, 1) of the lower 53 bits.
    np.bitwise_and(drawn, np.uint64(2**53 - 1), out=drawn)
    kept = np.less(drawn, np.uint64(np.ceil(keep * 2**53)))
    return torch.from_numpy(kept).view(like.shape)


def dropout(x: Tensor, probability: float, inplace: bool = False) -> Tensor:
    """Set elements to 0 with this probability and scale the rest (Srivastava et al. 2014)."""
    # Divided as torch divides its masks of 0 and 1: to the bit the same.
    scale = torch.ones((), dtype=x.dtype).div_(1 - probability)
    scaled = keep_mask(x, 1 - probability) * scale
    return x.mul_(scaled) if inplace else x * scaled


def same_as_torch() -> bool:
    """Whether this torch keeps its generator's state and draws its numbers as we believe."""
    before = torch.get_rng_state()
    try:
        like = torch.empty(1500)
        ours = keep_mask(like, 0.7), torch.rand(3)
        torch.set_rng_state(before)
        theirs = torch.empty(1500).bernoulli_(0.7).bool(), torch.rand(3)
        return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    except (ValueError, IndexError, TypeError):
        return False
    finally:
        torch.set_rng_state(before)
