"""A process that packs a tree and reads it twice: `python -m rig.packing MODE TREE STORE`.

It prints what that took as one line of JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch

from mcl_bench import data
from mcl_bench.spec.schema import DataSpec
from rig.pairs import keep_freed_memory
from rig.readers import READERS

THREADS = {"decoded": 1, "encoded": 2}


def own_bytes() -> int:
    """What the process holds for itself: no file's pages."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Pack, read twice, print."""
    mode, tree, store = sys.argv[1:]
    torch.set_num_threads(THREADS[mode])
    keep_freed_memory()
    spec = DataSpec.model_validate({"name": "folder", "root": tree, "resize": 256, "store": mode})
    began = time.perf_counter()
    packed = data.prepare(spec, store=Path(store))
    seconds = [time.perf_counter() - began]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    epoch = READERS[f"mcl_bench, {mode}"](Path(tree), Path(store))
    for number in range(2):
        began = time.perf_counter()
        images = sum(len(batch) for batch in epoch(number))
        seconds.append(time.perf_counter() - began)
    found = {
        "pack_rate": (packed.num_train + packed.num_test) / seconds[0],
        "first_rate": images / seconds[1],
        "second_rate": images / seconds[2],
        "file_bytes": packed.nbytes,
        "packing_peak": peak,
        "own_after": own_bytes(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
