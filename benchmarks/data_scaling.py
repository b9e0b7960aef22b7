"""How the store grows: 1,000 to 100,000 images of 256 pixels, decoded and encoded.

Each size and mode is packed from a tree of drawn JPEG files and read for two epochs (a random crop
of 224 pixels, a flip, normalised float32, batches of 64), in a process of its own that keeps freed
memory. Told are images a second of the packing (the files' hashes included) and of each epoch (the
first one checks every image), the packed files' size, the most memory while packing (resident: of
the process and of mapped files), and what the process holds for itself after reading: mapped pages
are the page cache's, and shared.

Promises: packing the most images takes at most 512 MiB more than packing the fewest; a second epoch
of the most is at least 0.8 times as fast as one of the fewest: of all encoded, and of the most
decoded whose file takes at most 0.7 of the memory that is there. What is larger is read from disk,
as fast as that is; it is told, and nothing is promised of it.

100,000 images need some 25 GB of disk, in the folder for temporary files, and minutes.

Run: `python benchmarks/data_scaling.py [N…]`: numbers of images (default 1000 10000 50000 100000).
Exit code 1 if a promise is broken.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.measure import BENCHMARKS, verdict
from rig.trees import SIDE, draw_files, write_tree

MODES = ("decoded", "encoded")
SIZES = (1000, 10_000, 50_000, 100_000)
DISTINCT = 300
MOST_GROWTH = 512 << 20
LEAST_SHARE = 0.8
MARGIN = 2 << 30
CACHED_SHARE = 0.7
"""The page cache is shared with the tree that is packed and with whatever else runs."""


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """What one size and mode took; rates in images a second, memory in bytes."""

    mode: str
    images: int
    pack_rate: float
    first_rate: float
    second_rate: float
    file_bytes: int
    packing_peak: int
    own_after: int


def scaled(tree: Path, store: Path, mode: str, count: int) -> Scaled:
    """Pack and read the tree in a fresh process."""
    process = subprocess.run(
        [sys.executable, "-m", "rig.packing", mode, str(tree), str(store)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise SystemExit(f"{mode}, {count} images: {process.stderr[-3000:]}")
    return Scaled(mode=mode, images=count, **json.loads(process.stdout.splitlines()[-1]))


def refuse_small_disk(folder: Path, most: int, file_bytes: int) -> None:
    """SystemExit if the largest tree and its packed files would not fit."""
    needed = most * (3 * SIDE**2 + 2 * file_bytes) + MARGIN
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{most} images need {needed / 1e9:.0f} GB in {folder}, {free / 1e9:.0f} are free"
        )


def report(found: Sequence[Scaled], memory: int) -> tuple[str, bool]:
    """The table and the promises, and whether they are kept; `memory` is what is there to use."""
    lines = [
        f"images of {SIDE} px, packed and read; {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {memory / 1e9:.1f} GB of memory available, "
        f"load {os.getloadavg()[0]:.1f}",
        f"{'':9}{'images':>8}{'packed/s':>10}{'1st epoch/s':>13}{'2nd epoch/s':>13}{'file GB':>9}"
        f"{'packing peak MiB':>18}{'own after MiB':>15}",
    ]
    lines += [
        f"{one.mode:9}{one.images:8}{one.pack_rate:10.0f}{one.first_rate:13.0f}"
        f"{one.second_rate:13.0f}{one.file_bytes / 1e9:9.2f}{one.packing_peak / 2**20:18.0f}"
        f"{one.own_after / 2**20:15.0f}"
        for one in found
    ]
    kept = True
    for mode in MODES:
        of_mode = sorted((one for one in found if one.mode == mode), key=lambda one: one.images)
        few, most = of_mode[0], of_mode[-1]
        grown = most.packing_peak - few.packing_peak
        held = grown <= MOST_GROWTH
        words = f"{mode}: packing grows by <= {MOST_GROWTH >> 20} MiB"
        lines.append(verdict(words, f"{grown / 2**20:.0f} MiB", kept=held))
        kept = kept and held
        cached = [one for one in of_mode if one.file_bytes <= CACHED_SHARE * memory]
        many = most if mode == "encoded" else cached[-1]
        share = many.second_rate / few.second_rate
        held = share >= LEAST_SHARE
        words = f"{mode}: {many.images} read >= {LEAST_SHARE:g}x as fast as {few.images}"
        lines.append(verdict(words, f"{share:.2f}x", kept=held))
        kept = kept and held
        lines += [
            f"{mode}: {one.images} are more than memory holds: read at "
            f"{one.second_rate / few.second_rate:.2f}x"
            for one in of_mode
            if mode == "decoded" and one not in cached
        ]
    return "\n".join(lines), kept


def available_memory() -> int:
    """The bytes of memory that can be used without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    counts = sorted({int(text) for text in sys.argv[1:]} or set(SIZES))
    if len(counts) < 2 or counts[0] < 100:
        raise SystemExit(f"give two numbers of at least 100 images or more, got {counts}")
    memory = available_memory()
    found = []
    with tempfile.TemporaryDirectory(prefix="mcl-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files = draw_files(min(DISTINCT, counts[0]), cache=folder)
        refuse_small_disk(folder, counts[-1], max(map(len, files)))
        for count in counts:
            tree = folder / f"tree{count}"
            write_tree(tree, count, files)
            for mode in MODES:
                store = folder / "store"
                found.append(scaled(tree, store, mode, count))
                shutil.rmtree(store)
            shutil.rmtree(tree)
    text, kept = report(found, memory)
    sys.stdout.write(f"{text}\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
