"""Archives of all kinds, sound and malicious ones."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def tar(path: Path, files: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    """A tar file, compressed as its name tells, with these files and other entries."""
    suffix = path.suffix.removeprefix(".").replace("tgz", "gz")
    mode = f"w:{suffix}" if suffix in ("gz", "bz2", "xz") else "w"
    with tarfile.open(path, mode) as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        for entry in others:
            packed.addfile(entry)
    return path


def zipped(path: Path, files: Mapping[str, bytes], *others: zipfile.ZipInfo) -> Path:
    """A zip file with these files and other entries."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
        for entry in others:
            packed.writestr(entry, b"/etc/passwd")
    return path


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A tar entry that is no plain file."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made
