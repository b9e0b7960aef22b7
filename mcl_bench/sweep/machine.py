"""Whether this machine can run sweeps: Python, packages, room, Ray, GPUs, sockets."""

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mcl_bench.records import Finding, Inventory

PACKAGE = "mcl-bench"

FEW_BYTES = 2_000_000_000
"""Less free room than this is told."""


class MachineSide:
    """This machine, with `home` for what is recorded."""

    name = "machine"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._there = next(path for path in (home, *home.parents) if path.exists())

    def inventory(self) -> Inventory:
        """What is wrong; nothing of it can be mended from here."""
        return Inventory(
            side=self.name,
            faults=(
                *self._python(),
                *self._packages(),
                *self._room(),
                *self._sockets(),
            ),
        )

    def mend(self, findings: Sequence[Finding]) -> None:
        """Nothing."""

    def facts(self) -> dict[str, str]:
        """What is there, in a few words each."""
        from mcl_bench.training import count_gpus

        usage = shutil.disk_usage(self._there)
        gpus = count_gpus()
        return {
            "python": f"{platform.python_version()} ({sys.executable})",
            "packages": f"{len(_requirements())} needed",
            "processors": str(os.cpu_count()),
            "GPUs": str(gpus) if gpus else "none seen",
            "home": f"{self._home}, {usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} free",
            "temporary folder": tempfile.gettempdir(),
        }

    def _python(self) -> Iterator[Finding]:
        wanted = metadata.metadata(PACKAGE)["Requires-Python"] or ""
        found = platform.python_version()
        if not SpecifierSet(wanted).contains(found):
            yield _fault("python", f"Python is {found}, needed is {wanted}", "install another one")

    def _packages(self) -> Iterator[Finding]:
        for requirement in _requirements():
            try:
                found = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                yield _fault(
                    "package",
                    f"{requirement.name} is not installed",
                    f"pip install '{requirement}'",
                    where=requirement.name,
                )
                continue
            if not requirement.specifier.contains(found, prereleases=True):
                yield _fault(
                    "package",
                    f"{requirement.name} is {found}, needed is {requirement.specifier}",
                    f"pip install '{requirement}'",
                    where=requirement.name,
                )
        try:
            import ray  # noqa: F401 - whether it can be
        except ImportError as error:
            what = f"Ray can't be imported: {error}"
            yield _fault("package", what, "pip install 'ray[tune]'", where="ray")

    def _room(self) -> Iterator[Finding]:
        """Whether the home can be written to, and has room."""
        if not os.access(self._there, os.W_OK | os.X_OK):
            what = f"{self._there} can't be written to"
            yield _fault("home", what, "set MCL_HOME to a folder that you can write to")
        for path in (self._there, Path(tempfile.gettempdir())):
            free = shutil.disk_usage(path).free
            if free < FEW_BYTES:
                what = f"only {free / 1e9:.1f} GB are free"
                yield _fault("room", what, "make room", where=str(path))

    def _sockets(self) -> Iterator[Finding]:
        """Whether a process here can listen on the loopback address, as Ray's must."""
        try:
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                one.listen()
        except OSError as error:
            what = f"no port of 127.0.0.1 can be listened on: {error}"
            yield _fault("ports", what, "let processes listen on the loopback address")


def _requirements() -> list[Requirement]:
    """The packages that are needed without any extra."""
    lines = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    return [line for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]


def _fault(kind: str, what: str, remedy: str, *, where: str = "this machine") -> Finding:
    return Finding(side="machine", kind=kind, what=what, where=where, remedy=remedy, mends=False)
