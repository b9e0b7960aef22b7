"""`digits`: the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.options import no_root, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Member, Report
from mcl_bench.data.listing import source_digest
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec


class DigitsOptions(Model):
    """`digits` has no options."""


class Digits:
    """The catalog's entry of `digits`."""

    facts = DatasetFacts(
        name="digits",
        title="Handwritten digits, 8×8 pixels",
        classes=10,
        images="1,797 images that come with scikit-learn, no download",
        citation="Alpaydin and Kaynak 1998, doi 10.24432/C50P49",
        licence="CC-BY-4.0",
        needs_root=False,
        notes="no official test split: data.test is cut",
        traps=("flipping a digit changes its meaning, so use augment: none",),
    )

    def check(self, data: DataSpec) -> None:
        """Raise UserError on options, of which `digits` has none."""
        no_root(data.root, dataset="digits")
        parse_options(DigitsOptions, data.options, dataset="digits")

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """No digit is unreadable."""
        return ("max_faults",)

    def open(self, data: DataSpec, *, cache: Path) -> "DigitsSource":  # noqa: ARG002
        """The digits, read from scikit-learn."""
        return DigitsSource()

    def inspect(
        self,
        data: DataSpec,
        *,
        cache: Path,
        report: Report,  # noqa: ARG002  nothing of the digits lies in files of ours
    ) -> "tuple[Path, DigitsSource]":
        """The digits, which lie in no files that could be wrong."""
        return Path(), self.open(data, cache=cache)


class DigitsSource:
    """The digits as grey pictures of 8×8 pixels, 0..255."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        self._pixels: npt.NDArray[np.uint8] = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        self._labels: list[int] = [int(label) for label in digits.target]

    @property
    def classes(self) -> tuple[str, ...]:
        """`0` to `9`."""
        return tuple(str(digit) for digit in range(10))

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """All digits in scikit-learn's order."""
        return tuple(
            Member(id=f"{number:04d}", label=label, split=None)
            for number, label in enumerate(self._labels)
        )

    @property
    def digest(self) -> str:
        """The hash of every digit's number, pixels and label."""
        return source_digest(
            (member.id, hashlib.sha256(pixels.tobytes()).hexdigest(), self.classes[member.label])
            for member, pixels in zip(self.members, self._pixels, strict=True)
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
        """One digit, its grey value in all three channels."""
        return Example(picture=np.repeat(self._pixels[index][..., None], 3, axis=2), extra={})
