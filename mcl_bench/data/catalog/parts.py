"""`parts`: beetles drawn here, whose classes differ only in small local parts."""

import functools
import hashlib
import json
from pathlib import Path

from pydantic import Field

from mcl_bench.data.catalog import parts_drawing
from mcl_bench.data.catalog.options import no_root, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Member, Report, Split
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec


class PartsOptions(Model):
    """How many images of how many classes are drawn; `parts: false` leaves the parts out."""

    classes: int = Field(default=12, ge=2, le=parts_drawing.MAX_CLASSES)
    train_per_class: int = Field(default=40, ge=1)
    test_per_class: int = Field(default=20, ge=1)
    size: int = Field(default=64, ge=16, le=1024)
    seed: int = Field(default=0, ge=0)
    parts: bool = True


class Parts:
    """The catalog's entry of `parts`."""

    facts = DatasetFacts(
        name="parts",
        title="Drawn beetles that differ only in small parts",
        classes=12,
        images="drawn here, no download; part positions are known",
        citation="mcl_bench",
        licence="Apache-2.0",
        needs_root=False,
        notes="data.options: classes, train_per_class, test_per_class, size, seed, parts",
    )

    def check(self, data: DataSpec) -> None:
        """Raise UserError on options that `parts` does not have."""
        no_root(data.root, dataset="parts")
        parse_options(PartsOptions, data.options, dataset="parts")

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """The test split is drawn with the rest, and no drawing is unreadable."""
        return ("test", "max_faults")

    def open(self, data: DataSpec, *, cache: Path) -> "PartsSource":  # noqa: ARG002
        """The drawn images; nothing is drawn before it is read."""
        return PartsSource(parse_options(PartsOptions, data.options, dataset="parts"))

    def inspect(
        self,
        data: DataSpec,
        *,
        cache: Path,
        report: Report,  # noqa: ARG002  what is drawn can't be wrong
    ) -> "tuple[Path, PartsSource]":
        """The drawn images, which lie in no files that could be wrong."""
        return Path(), self.open(data, cache=cache)


class PartsSource:
    """The images of one choice of options, drawn when they are read."""

    def __init__(self, options: PartsOptions) -> None:
        self._options = options
        self._codes = parts_drawing.class_codes(options.classes, seed=options.seed)
        self._classes = tuple(
            "-".join(f"{site}{variant}" for site, variant in zip(_SITES, code, strict=True))
            for code in self._codes
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names tell the variant at each site: `head2-wing0-tail3-leg1`."""
        return self._classes

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """All images, by split, class and number."""
        counts: tuple[tuple[Split, int], ...] = (
            ("test", self._options.test_per_class),
            ("train", self._options.train_per_class),
        )
        return tuple(
            Member(id=f"{split}/{name}/{number:05d}", label=label, split=split)
            for split, count in counts
            for label, name in enumerate(self._classes)
            for number in range(count)
        )

    @property
    def digest(self) -> str:
        """The hash of the drawing's version and of the options."""
        parts = ["parts", parts_drawing.VERSION, self._options.model_dump()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """Part positions: sites × (x, y, visible)."""
        return {"parts": (len(parts_drawing.SITES), 3)}

    @property
    def extra_digests(self) -> dict[str, str]:
        """Nothing: the parts are drawn with the images, whose digest speaks for them."""
        return {}

    def read(self, index: int) -> Example:
        """Draw one image; `extra` has its `parts`: (x, y, visible) by site."""
        member = self.members[index]
        drawn = parts_drawing.draw(
            self._codes[member.label],
            size=self._options.size,
            stream=(
                self._options.seed,
                int(member.split == "test"),
                member.label,
                int(member.id.rsplit("/", 1)[1]),
            ),
            parts=self._options.parts,
        )
        return Example(picture=drawn.image, extra={"parts": drawn.parts})


_SITES = parts_drawing.SITES
