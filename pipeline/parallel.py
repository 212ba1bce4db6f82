"""All cores at work on blocks of lines, with the results in order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from pipeline.errors import RecipeError
from pipeline.launch import die_with_parent

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def in_blocks(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of `size` items, the last of what is left: so much is worth sending to a process."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


def parallel_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None = None
) -> Iterator[_Result]:
    """As `map`, in `workers` processes (one per core unless given), in the order of `items`.

    No more than a few items are under way at once, so memory does not grow with their number.
    Workers are forks: what `function` refers to is there without being sent, and they end with
    their parent. An exception in a worker is raised here.
    """
    workers = workers or cores()
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[_Result]] = deque()
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_start,
        initargs=(function,),
    )
    try:
        for item in items:
            waiting.append(pool.submit(_call, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RecipeError(
            "a worker process was killed, most likely for want of memory; "
            "close other programs and run this again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_work: list[Callable[..., Any]] = []


def _start(function: Callable[..., Any]) -> None:
    # Given at the fork, not with each item: a closure cannot be pickled.
    _work.append(function)
    die_with_parent()


def _call(item: Any) -> Any:
    return _work[-1](item)
