"""Working one step ahead: the next item is made by a thread while the last one is used."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def one_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items in the same order, the next one being made while one is used.

    All are made in one thread of their own, never more than one before it is asked for. What making
    an item raises is raised where that item is asked for. The thread ends with the items, or when
    this generator is closed, after the item that it is at.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item  # type: ignore[misc]  # an item, not the end
