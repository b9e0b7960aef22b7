"""`elpv`: photographs of solar cells by electroluminescence, graded by probability of a defect."""

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcl_bench.data.catalog.image_files import identity, image_files
from mcl_bench.data.catalog.options import no_root, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Fault, FaultKind, Member, Report
from mcl_bench.data.listing import file_digests, source_digest
from mcl_bench.records import DataError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_INSTALL = "pip install 'mcl-bench[elpv]'"
_AGAIN = f"{_INSTALL} --force-reinstall"
_TABLE = "labels.csv"
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
        notes="data.options: types (all, mono, poly); no official test split: data.test is cut",
        traps=(
            "the modules are not told: cells cut out of one module's photograph may fall on both "
            "sides of a split, which makes scores better than they would be on new modules",
            "no official split: numbers of other work are on other splits",
        ),
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
        root = _package_data()
        rows = list(_rows(root, _refuse(root)))
        return ElpvSource(root, rows=rows, options=options, cache=cache)

    def inspect(self, data: DataSpec, *, cache: Path, report: Report) -> "tuple[Path, ElpvSource]":
        """The package's folder and what is right of its photographs; other things are reported."""
        options = parse_options(ElpvOptions, data.options, dataset="elpv")
        root = _package_data()
        rows = list(_rows(root, report))
        named = {line.split(maxsplit=1)[0] for line in _lines(root) if line.strip()}
        for path in image_files(root / "images"):
            name = identity(path, root)
            if name not in named:
                report(_fault("orphan", name, f"has no row in {_TABLE}"))
        there = []
        for row in rows:
            if (root / row.id).is_file():
                there.append(row)
            else:
                report(_fault("missing", row.id, "does not exist", place=row.place))
        return root, ElpvSource(root, rows=there, options=options, cache=cache)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of the table: a photograph, its grade as a class, and its type (mono or poly)."""

    id: str
    grade: int
    type: str
    place: str


class ElpvSource:
    """The photographs that lie in one folder beside their `labels.csv`."""

    def __init__(
        self, root: Path, *, rows: Iterable[_Row], options: ElpvOptions, cache: Path
    ) -> None:
        self._root = root
        self._cache = cache
        chosen = [row for row in rows if options.types in ("all", row.type)]
        members = [Member(id=row.id, label=row.grade, split=None) for row in chosen]
        self._members = tuple(sorted(members, key=lambda member: member.id))

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

    @property
    def extra_digests(self) -> dict[str, str]:
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
    if not (root / _TABLE).is_file():
        raise DataError(
            f"the package elpv-dataset is damaged: {root / _TABLE} is absent",
            key="data.name",
            remedy=_AGAIN,
        )
    return root


def _rows(root: Path, report: Report) -> Iterator[_Row]:
    """The rows `path probability type` of the table; thirds are compared with a tolerance.

    Rows of another form, other grades, and a photograph twice are reported.
    """
    places: dict[str, str] = {}
    for number, line in enumerate(_lines(root), start=1):
        place = f"{_TABLE}:{number}"
        if not line.strip():
            continue
        try:
            path, probability, kind = line.split()
            thirds = float(probability) * 3
            grade = round(thirds)
        except (ValueError, OverflowError):
            report(_fault("corrupt", _TABLE, f"is not a row of labels: {line!r}", place=place))
            continue
        if not path.startswith("images/") or ".." in path.split("/"):
            report(_fault("path", path, "must lie in images/", place=place))
        elif abs(thirds - grade) > 0.01 or not 0 <= grade <= 3:
            words = f"has another grade than 0, 1/3, 2/3 or 1: {line!r}"
            report(_fault("label", path, words, place=place))
        elif path in places:
            words = f"is here twice, first in {places[path]}"
            report(_fault("duplicate", path, words, place=place))
        else:
            places[path] = place
            yield _Row(id=path, grade=grade, type=kind, place=place)


def _lines(root: Path) -> list[str]:
    return (root / _TABLE).read_text(encoding="utf-8", errors="replace").splitlines()


def _fault(kind: FaultKind, file: str, words: str, *, place: str | None = None) -> Fault:
    return Fault(kind=kind, file=file, detail=words, place=place, remedy=_AGAIN)


def _refuse(root: Path) -> Report:
    """A report that raises the first fault it is told as a DataError."""

    def raise_it(fault: Fault) -> None:
        named = "" if fault.file == _TABLE else f"{fault.file} "
        rule = f"{root / str(fault.place)}: {named}{fault.detail}"
        raise DataError(rule, key="data.name", remedy=fault.remedy)

    return raise_it
