"""Two rows held against each other: the paired difference, what tells it, and what forbids it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.records import UserError
from mcl_bench.results.bootstrap import Bootstrap, bootstrap
from mcl_bench.results.naming import find_row, row_name
from mcl_bench.results.power import EFFECTS, power
from mcl_bench.results.predictions import NoPredictionsError, answers_folder, paired_predictions
from mcl_bench.results.protocol import TEST_IMAGES, Unlike, unlike
from mcl_bench.results.row import Row
from mcl_bench.results.stats import Difference, paired_difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows `a` and `b`; the difference is a - b, as a fraction, over the seeds that both have.

    `unlike` says where their protocols are unlike: where anything is, the difference is one of
    two systems, not of two losses; where they were scored on other images there is none (its n
    is 0). `bootstrap` resamples seeds × images and decides nothing; where it is None,
    `no_bootstrap` says why. `power` is by the size of a true difference in standard deviations of
    the paired differences.
    """

    a: Row
    b: Row
    unlike: tuple[Unlike, ...]
    difference: Difference
    bootstrap: Bootstrap | None
    no_bootstrap: str | None
    power: Mapping[float, float | None]

    @property
    def same_images(self) -> bool:
        """Whether both were scored on the same images."""
        return not any(one.key in TEST_IMAGES for one in self.unlike)


def compare(home: Path, a_name: str, b_name: str) -> Comparison:
    """The rows of these names, compared.

    Raises:
        UserError: a name is of no row or of several, both are of one, or one has no trial yet.
        DataError: a record or a file of predictions is damaged.
    """
    a, b = find_row(home, a_name), find_row(home, b_name)
    if (a.sweep, a.cell) == (b.sweep, b.cell):
        raise UserError(f"{a_name} and {b_name} are one row", remedy="name two")
    for row in (a, b):
        if row.aside.protocol is None:
            raise UserError(
                f"{row_name(row)} has no complete search trial yet: there is nothing to compare"
            )
    assert a.aside.protocol is not None, "looked at above"
    assert b.aside.protocol is not None, "looked at above"
    found = unlike(a.aside.protocol, b.aside.protocol)
    paired = not any(one.key in TEST_IMAGES for one in found)
    by_seed = [{score.seed: score.top1 for score in row.aside.scores} for row in (a, b)]
    difference = paired_difference(*by_seed) if paired else Difference(n=0)
    resampled, why_not = _bootstrap(home, a, b) if difference.n else (None, "no common seeds")
    return Comparison(
        a=a,
        b=b,
        unlike=found,
        difference=difference,
        bootstrap=resampled,
        no_bootstrap=why_not if paired else "scored on other images",
        power={effect: power(difference.n, effect) for effect in EFFECTS},
    )


def _bootstrap(home: Path, a: Row, b: Row) -> tuple[Bootstrap | None, str | None]:
    common = {score.seed for score in a.aside.scores} & {score.seed for score in b.aside.scores}
    sides = []
    for row in (a, b):
        folder = answers_folder(home / "sweeps" / row.sweep)
        sides.append((folder, [score for score in row.aside.scores if score.seed in common]))
    try:
        correct, minus = paired_predictions(*sides)
    except NoPredictionsError as error:
        return None, str(error)
    return bootstrap(correct, minus=minus), None
