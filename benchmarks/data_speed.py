"""P5: images a second from our store, against torchvision, webdataset, datasets and litdata.

All read the same drawn JPEG files of 256 pixels as shuffled batches of 64: a random crop of 224
pixels, a flip, normalised float32. The peers read as they usually do, with two worker processes
that stay between epochs, and once more from decoded pixels where they can hold them. Ours reads in
one process, decoded with one thread, encoded with two. Every process keeps freed memory, as
PyTorch's tuning guide advises; an epoch of each in turn, so that all see the same machine and a
warm page cache; the first epoch of each (making what it reads from, starting workers) is not
counted, but its pixels must agree with the others' in mean and square.

Then the memory (proportional set size, which counts shared pages in parts) of 1 and of 8 readers
of our store at once, before the store is opened and after an epoch.

Run: `python benchmarks/data_speed.py [N [ROUNDS]]`: N images (default 1500), ROUNDS epochs of each
(default 5). Exit code 1 if a promise is broken.
"""

import contextlib
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from rig.measure import verdict
from rig.reading import Read, Reader
from rig.trees import draw_files, write_tree

DECODED, ENCODED = "mcl_bench, decoded", "mcl_bench, encoded"
PLAIN = "ImageFolder, DataLoader"
USUAL = (PLAIN, "webdataset", "datasets", "litdata")
HOLDING_PIXELS = ("webdataset, decoded", "datasets, decoded", "litdata, decoded")
DISTINCT = 400
READERS_AT_ONCE = (1, 8)
THREADS = {DECODED: 1}
"""Torch's threads in each process; 2 where nothing is said."""

PROMISE_PLAIN, PROMISE_USUAL, PROMISE_PIXELS = 12.0, 1.0, 1.5


def measure(tree: Path, folder: Path, rounds: int) -> dict[str, list[Read]]:
    """The epochs of each reader, taken in turn; the first is not among them."""
    names = (DECODED, ENCODED, *USUAL, *HOLDING_PIXELS)
    with contextlib.ExitStack() as running:
        readers = {
            name: running.enter_context(
                Reader(name, tree, folder / name.replace(", ", "-"), threads=THREADS.get(name, 2))
            )
            for name in names
        }
        first = {name: reader.read() for name, reader in readers.items()}
        _agree(first)
        found: dict[str, list[Read]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, reader in readers.items():
                found[name].append(reader.read())
    return found


def _agree(first: Mapping[str, Read]) -> None:
    """SystemExit if one reader's pixels are not those of the others."""
    ours = first[DECODED]
    for name, read in first.items():
        differ = abs(read.mean - ours.mean), abs(read.square - ours.square)
        if abs(read.images - ours.images) > 1 or max(differ) > 0.05:
            raise SystemExit(f"{name} reads other images than ours: {read}, ours: {ours}")


def speed_report(found: Mapping[str, Sequence[Read]]) -> tuple[str, bool]:
    """The table of images a second and the promises, and whether they are kept."""
    rates = {name: statistics.median(read.rate for read in reads) for name, reads in found.items()}
    lines = [f"{'':26}{'median':>12}{'fastest':>12}{'ours decoded':>15}{'encoded':>10}"]
    for name, reads in found.items():
        fastest = max(read.rate for read in reads)
        lines.append(
            f"{name:26}{rates[name]:8.0f} img/s{fastest:8.0f} img/s"
            f"{rates[DECODED] / rates[name]:14.2f}x{rates[ENCODED] / rates[name]:9.2f}x"
        )
    kept = True
    for peers, least, words in (
        ((PLAIN,), PROMISE_PLAIN, PLAIN),
        (USUAL, PROMISE_USUAL, "the best as usually used"),
        (HOLDING_PIXELS, PROMISE_PIXELS, "the best that holds decoded pixels"),
    ):
        best = max(peers, key=lambda peer: rates[peer])
        ratio = rates[DECODED] / rates[best]
        held = ratio >= least
        kept = kept and held
        promise = f"decoded >= {least:g}x {words}"
        lines.append(verdict(promise, f"{ratio:.2f}x {best}", kept=held))
    return "\n".join(lines), kept


def memory_report(tree: Path, folder: Path) -> str:
    """What 1 and 8 readers of a packed store hold, before opening it and after an epoch."""
    lines = [f"{'memory (PSS), MiB':26}{'readers':>9}{'empty':>9}{'reading':>9}{'the store':>11}"]
    for name in (DECODED, ENCODED):
        store = folder / name.replace(", ", "-")
        nbytes = sum(path.stat().st_size for path in store.glob("*.arrow"))
        for count in READERS_AT_ONCE:
            with contextlib.ExitStack() as running:
                readers = [
                    running.enter_context(Reader(name, tree, store, threads=1))
                    for _ in range(count)
                ]
                empty = sum(reader.held_bytes() for reader in readers)
                for reader in readers:
                    reader.ask()
                for reader in readers:
                    reader.answer()
                reading = sum(reader.held_bytes() for reader in readers)
            sizes = "".join(
                f"{held / 2**20:{width}.0f}"
                for held, width in ((empty, 9), (reading, 9), (nbytes, 11))
            )
            lines.append(f"{name:26}{count:9}{sizes}")
    return "\n".join(lines)


def conditions() -> str:
    """The machine and the versions, in one line."""
    packages = ("torch", "torchvision", "pillow", "webdataset", "datasets", "litdata")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{versions}, load {os.getloadavg()[0]:.1f}"
    )


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    if count < 100 or rounds < 1:
        raise SystemExit(f"N must be at least 100 and ROUNDS at least 1, got {count} and {rounds}")
    head = f"P5: {count} images of 256 px, {rounds} epochs of each in turn; {conditions()}"
    with tempfile.TemporaryDirectory(prefix="mcl-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        tree = folder / "tree"
        write_tree(tree, count, draw_files(min(DISTINCT, count), cache=folder))
        speed, kept = speed_report(measure(tree, folder, rounds))
        memory = memory_report(tree, folder)
    sys.stdout.write(f"{head}\n{speed}\n\n{memory}\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
