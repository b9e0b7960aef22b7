"""Timing ways of doing the same in turn, so that all see the same machine, and their memory."""

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h

Step = Callable[[], object]


def in_turn(
    steps: Mapping[str, Step], rounds: int, *, repeated: bool = False
) -> dict[str, list[float]]:
    """The seconds of each step in each round; two rounds beforehand are not counted.

    With `repeated` each step runs twice in a round and the second time counts, so that it finds
    memory as it has left it itself, not as the others have.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            if repeated:
                step()
            began = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, as PyTorch's tuning guide advises (there by jemalloc).

    Otherwise big tensors are given back and faulted in anew, which takes as long as the work on
    them and differs from process to process. Nothing happens where the C library isn't glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times longer the one takes than the other, in the median of the rounds."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def peak_bytes(step: Step) -> int:
    """The most memory that tensors made by a step hold at one time, on the CPU."""
    step()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def conditions() -> str:
    """The machine, the versions and how busy the machine is, in one line."""
    return (
        f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
