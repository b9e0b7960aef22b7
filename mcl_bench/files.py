"""Reading and writing files so that a reader finds a whole file or none.

Appends are whole lines; a line torn by a crash is cut off when the file is next opened.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mcl_bench.records import UserError


def home() -> Path:
    """The folder that everything is kept in: `MCL_HOME`, default `./runs`, as an absolute path."""
    path = Path(os.environ.get("MCL_HOME") or "runs").expanduser().absolute()
    if bad := set("?#%") & set(str(path)):
        raise UserError(
            f"MCL_HOME holds {' '.join(sorted(bad))}, which a database's URL can't: {path}",
            remedy="set MCL_HOME to a path without ? # and %",
        )
    return path


def data_home() -> Path:
    """The folder that datasets are fetched into and looked for in: `MCL_DATA`, default `./data`."""
    return Path(os.environ.get("MCL_DATA") or "data").expanduser()


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file that appears whole or not at all; an older one stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def append_line(path: Path, value: Mapping[str, Any] | str, *, sync: bool = True) -> str:
    """Append one line (a mapping as JSON), flushed to disk with `sync`; returns the line."""
    line = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        if sync:
            os.fsync(file.fileno())
    return line


def mend_tail(path: Path) -> bool:
    """Cut off a last line that a crash left unfinished; True if there was one."""
    if not path.exists():
        return False
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return False
    with path.open("r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
        os.fsync(file.fileno())
    return True


def read_lines(path: Path) -> Iterator[str]:
    """The finished lines of an append-only file, without their line ends; none if it is absent."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):
                yield raw[:-1].decode()
