"""What whoever goes on with a sweep should know first: one line each, and no reason to stop."""

from collections import Counter
from collections.abc import Iterator

from mcl_bench.sweep.book import Book
from mcl_bench.sweep.plan import Plan
from mcl_bench.sweep.settings import installed
from mcl_bench.sweep.studies import Studies


def notes(plan: Plan, studies: Studies, book: Book) -> Iterator[str]:
    """Settings to be tried first that will not be, and libraries that have another version now."""
    for cell in plan.cells.values():
        left_out = studies.count_unasked(cell.id) - max(0, cell.trials - len(cell.search))
        if left_out > 0:
            yield (
                f"{cell.id}: {left_out} of search.enqueue will not be tried: search.trials "
                f"({cell.trials}) is a total and leaves no room; raise it"
            )
    older = Counter(
        f"{name} {record.versions[name]}, now {version}"
        for record in book.records
        for name, version in installed().items()
        if record.versions.get(name, version) != version
    )
    for change, count in older.items():
        yield f"{count} finished trials were trained with {change}: the numbers may differ"
