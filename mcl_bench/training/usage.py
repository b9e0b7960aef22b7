"""What an epoch took of the machine, for MLflow's page of system metrics."""

import resource
import sys
import time

import torch

MEGABYTE = 1e6
RSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of the kernel's `ru_maxrss`, in bytes."""


class Usage:
    """What this process takes of processors, memory and the device, between two questions."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._since = self._now()

    def metrics(self) -> dict[str, float]:
        """What was taken since the last question, or since the beginning.

        `system/process_cpu_percentage` is CPU time per wall time (200: two cores),
        `system/process_peak_memory_megabytes` the most memory that was ever resident, and on CUDA
        `system/gpu_peak_memory_megabytes` the most that tensors held meanwhile.
        """
        before, self._since = self._since, self._now()
        wall, cpu = (now - then for now, then in zip(self._since, before, strict=True))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_BYTES
        found = {
            "system/process_cpu_percentage": 100 * cpu / wall if wall > 0 else 0.0,
            "system/process_peak_memory_megabytes": resident / MEGABYTE,
        }
        if self._device.type == "cuda":
            held = torch.cuda.max_memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            found["system/gpu_peak_memory_megabytes"] = held / MEGABYTE
        return found

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()
