"""`elpv`: photographs of solar cells by electroluminescence, graded by probability of a defect."""

import functools
import importlib.util
from pathlib import Path
from typing import Literal

from mcl_bench.data.catalog.options import no_root, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Member
from mcl_bench.data.listing import file_digests, source_digest
from mcl_bench.records import DataError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_INSTALL = "pip install 'mcl-bench[elpv]'"
_GRADES = ("0", "1/3", "2/3", "1")


class ElpvOptions(Model):
    """Which cells: monocrystalline (1,074), polycrystalline (1,550) or both (2,624)."""

    types: Literal["all", "mono", "poly"] = "all"


class Elpv:
    """The catalog's entry of `elpv`."""

    facts = DatasetFacts(
        name="elpv",
        title="Solar cells by electroluminescence, 4 grades of defect",
        classes=4,
        images=f"the package elpv-dataset: {_INSTALL}",
        citation="Buerhop-Lutz et al. 2018, doi 10.4229/35thEUPVSEC20182018-5CV.3.15; "
        "Deitsch et al. 2019, doi 10.1016/j.solener.2019.02.067; "
        "Deitsch et al. 2021, doi 10.1007/s00138-021-01191-9",
        licence="CC-BY-NC-SA-4.0",
        needs_root=False,
        notes="data.options: types (all, mono, poly); no official test split: data.test is cut; "
        "cells of one module may fall on both sides, the modules are not told",
    )

    def check(self, data: DataSpec) -> None:
        """Raise UserError on bad options, DataError if the package is absent."""
        no_root(data.root, dataset="elpv")
        parse_options(ElpvOptions, data.options, dataset="elpv")
        _package_data()

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """Everything is used."""
        return ()

    def open(self, data: DataSpec, *, cache: Path) -> "ElpvSource":
        """The photographs of the chosen types, read from the installed package."""
        options = parse_options(ElpvOptions, data.options, dataset="elpv")
        return ElpvSource(_package_data(), options=options, cache=cache)


class ElpvSource:
    """The photographs that lie in one folder beside their `labels.csv`."""

    def __init__(self, root: Path, *, options: ElpvOptions, cache: Path) -> None:
        self._root = root
        self._cache = cache
        self._members = tuple(_members(root / "labels.csv", types=options.types))

    @property
    def classes(self) -> tuple[str, ...]:
        """The grades: the probability that the cell is defective."""
        return _GRADES

    @property
    def members(self) -> tuple[Member, ...]:
        """The photographs, by file name."""
        return self._members

    @functools.cached_property
    def digest(self) -> str:
        """The hash of every photograph and grade."""
        names = [member.id for member in self._members]
        digests = file_digests(self._root, names, cache=self._cache)
        return source_digest(
            (member.id, digest, _GRADES[member.label])
            for member, digest in zip(self._members, digests, strict=True)
        )

    @property
    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """Nothing else is known of an image."""
        return {}

    def read(self, index: int) -> Example:
        """The PNG file of one photograph."""
        return Example(picture=(self._root / self._members[index].id).read_bytes(), extra={})


def _package_data() -> Path:
    """The folder of the photographs; found without importing the package, which is slow."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DataError(
            "data.name elpv needs the package elpv-dataset, which is not installed",
            key="data.name",
            remedy=_INSTALL,
        )
    root = Path(spec.origin).parent / "data"
    if not (root / "labels.csv").is_file():
        raise DataError(
            f"the package elpv-dataset is damaged: {root / 'labels.csv'} is absent",
            key="data.name",
            remedy=f"{_INSTALL} --force-reinstall",
        )
    return root


def _members(table: Path, *, types: str) -> list[Member]:
    """The rows `path probability type` of labels.csv; thirds are compared with a tolerance."""
    members = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            path, probability, kind = line.split()
            thirds = float(probability) * 3
        except ValueError as error:
            raise DataError(f"{table}:{number}: not a row of labels: {line!r}") from error
        grade = round(thirds)
        if abs(thirds - grade) > 0.01 or not 0 <= grade <= 3:
            raise DataError(f"{table}:{number}: the grade must be 0, 1/3, 2/3 or 1, got {line!r}")
        if types in ("all", kind):
            members.append(Member(id=path, label=grade, split=None))
    return sorted(members, key=lambda member: member.id)
