"""Ordered parallel map: order, bounded look-ahead, errors."""

import os
import signal

import pytest

from pipeline.errors import RecipeError
from pipeline.parallel import parallel_map


def test_order_is_kept_and_closures_work() -> None:
    offset = 7
    assert list(parallel_map(lambda n: n + offset, range(100), 3)) == list(range(7, 107))


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    results = parallel_map(abs, (taken.append(n) or n for n in range(1000)), 2)
    assert next(results) == 0
    assert len(taken) < 10


def test_an_error_in_a_worker_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(lambda n: 1 // n, [1, 0], 2))


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(RecipeError, match="a worker process was killed"):
        list(parallel_map(lambda n: os.kill(os.getpid(), signal.SIGKILL), [1], 2))
