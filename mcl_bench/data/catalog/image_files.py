"""Image files below a folder, without what desktops leave there."""

import os
from collections.abc import Iterator
from pathlib import Path

from mcl_bench.records import DataError

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)
"""A file that ends otherwise is no image, whatever is in it."""


def image_files(folder: Path) -> Iterator[Path]:
    """All image files below a folder; links are followed, but never in a circle.

    DataError if a folder can't be read: its images would be left out unseen.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not passed_over(name))
        for name in sorted(files):
            if not passed_over(name) and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield Path(place) / name


def _refuse(error: OSError) -> None:
    """Raise what keeps a folder from being read; one that isn't there holds no images."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DataError(
            f"the folder {error.filename} can't be read: {error.strerror}", key="data.root"
        ) from error


def passed_over(name: str) -> bool:
    """Whether a file or folder is hidden or the desktop's own."""
    return name.startswith(".") or name == "__MACOSX"


def identity(path: Path, root: Path) -> str:
    """The path under the root; bytes that are no UTF-8 are spelled out."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
