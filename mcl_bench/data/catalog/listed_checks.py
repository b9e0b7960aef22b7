"""What must hold of the images that lists name, whatever form the lists have."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from mcl_bench.data.catalog.listed import Listed, keep_present, tell_orphans
from mcl_bench.data.catalog.source import DatasetFacts, Fault, Report, Split

_FROM_1 = "classes count from 1; mend the list, or get it again"
_ONE_OF_THEM = "keep one of the rows"


class Named(Protocol):
    """An image as a list names it."""

    @property
    def path(self) -> str:
        """Relative to the root."""
        ...

    @property
    def split(self) -> Split | None:
        """The split that the list is of."""
        ...

    @property
    def place(self) -> str:
        """Where it is named."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


def settled(
    images: Iterable[Listed],
    *,
    root: Path,
    folders: Sequence[str],
    named: Collection[str],
    facts: DatasetFacts,
    report: Report,
) -> tuple[Listed, ...]:
    """The images that are there; what is missing or leads away is reported, and so are orphans.

    `folders` are those that hold images, `named` all paths that a list has, right or wrong.
    """
    kept = tuple(keep_present(images, root=root, facts=facts, report=report))
    for folder in folders:
        tell_orphans(root / folder, named=named, root=root, report=report)
    return kept


def keep_once(images: Iterable[NamedT], *, report: Report) -> Iterator[NamedT]:
    """Each image once, as it is named first; that it is named again is reported."""
    first: dict[str, NamedT] = {}
    for image in images:
        known = first.setdefault(image.path, image)
        if known is image:
            yield image
            continue
        again = known.split == image.split
        words = "is listed twice" if again else f"is in {known.split} and in {image.split}"
        report(
            Fault(
                kind="duplicate" if again else "split",
                file=image.path,
                detail=f"{words}, first at {known.place}",
                place=image.place,
                remedy=_ONE_OF_THEM,
            )
        )


def keep_names(
    names: Iterable[tuple[str, str]], *, file: str, report: Report
) -> tuple[tuple[str, str], ...]:
    """The names of classes with their places, each once; one that comes again is reported."""
    first: dict[str, str] = {}
    for name, place in names:
        if first.setdefault(name, place) != place:
            report(
                Fault(
                    kind="duplicate",
                    file=file,
                    detail=f"class {name!r} is listed twice, first at {first[name]}",
                    place=place,
                    remedy=_ONE_OF_THEM,
                )
            )
    return tuple(first.items())


def tell_untrained(
    names: Sequence[tuple[str, str]], images: Iterable[Listed], *, file: str, report: Report
) -> None:
    """Report each class that no training image has; `names` have their places in `file`."""
    learnt = {image.label for image in images if image.split == "train"}
    for label, (name, place) in enumerate(names):
        if label not in learnt:
            report(
                Fault(
                    kind="empty",
                    file=file,
                    detail=f"class {name!r} has no training image",
                    place=place,
                    remedy="add its images to the lists, or take the class away",
                )
            )


def tell_untested(images: Iterable[Listed], *, file: str, report: Report) -> None:
    """Report that the list `file` names no test image, if it is so."""
    if not any(image.split == "test" for image in images):
        report(
            Fault(
                kind="split",
                file=file,
                detail="names no test image",
                remedy="get the list again",
            )
        )


def tell_shift(numbers: Collection[int | None], *, count: int, file: str, report: Report) -> bool:
    """Report a list whose classes are off by one as a whole, and whether it is.

    It is where it has each class from 0 to K-1 or from 2 to K+1, and no other, of `count` K. A
    list that has fewer classes can't be told from one with single faults, which `class_label`
    reports.
    """
    found = set(numbers)
    for start in (0, 2):
        if found == set(range(start, start + count)):
            report(
                Fault(
                    kind="label",
                    file=file,
                    detail=f"its classes are {start} to {start + count - 1}, "
                    f"they must be 1 to {count}: all are off by one",
                    remedy=_FROM_1,
                )
            )
            return True
    return False


def class_label(
    number: int | None, *, count: int, image: str, place: str, report: Report
) -> int | None:
    """The label (from 0) of a class that a list counts from 1; None, reported, if there is none."""
    if number is not None and 1 <= number <= count:
        return number - 1
    got = "no integer" if number is None else f"{number}, out of range"
    off = ": is the list off by one?" if number in (0, count + 1) else ""
    report(
        Fault(
            kind="label",
            file=image,
            detail=f"has class {got} (1 to {count}){off}",
            place=place,
            remedy=_FROM_1,
        )
    )
    return None
