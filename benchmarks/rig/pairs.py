"""Timing ways of doing the same in turn, so that all see the same machine, and their memory."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Step = Callable[[], object]


def in_turn(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """The seconds of each step in each round; two rounds beforehand are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


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
