"""One step ahead: the same items, no more work than one, and no thread that stays."""

import threading
from collections.abc import Iterator

import pytest
import torch
from test_data_batches import batches, equal, image_set

from mcl_bench.data.prefetch import one_ahead

SECONDS = 20.0


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_items_come_in_order_made_in_one_other_thread_that_ends() -> None:
    makers = set()

    def items() -> Iterator[int]:
        for number in range(20):
            makers.add(threading.current_thread())
            yield number

    assert list(one_ahead(items())) == list(range(20))
    assert len(makers) == 1
    assert threading.current_thread() not in makers
    assert workers() == []


def test_never_more_than_one_item_is_made_before_it_is_asked_for() -> None:
    made = [threading.Event() for _ in range(6)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = one_ahead(items())
    for number in range(4):
        assert next(ahead) == number
        assert made[number + 1].wait(SECONDS)  # the next one is made meanwhile
        assert not made[number + 2].is_set()
    ahead.close()
    assert workers() == []
    assert not made[5].is_set()


def test_what_making_an_item_raises_is_raised_where_it_is_asked_for() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("the store is gone")

    ahead = one_ahead(items())
    assert next(ahead) == 0
    with pytest.raises(OSError, match="the store is gone"):
        next(ahead)
    assert workers() == []


def test_an_iterator_that_is_closed_early_waits_for_its_thread() -> None:
    begun, free = threading.Event(), threading.Event()
    ended = []

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        assert free.wait(SECONDS)
        ended.append(True)
        yield 1

    ahead = one_ahead(items())
    assert next(ahead) == 0
    assert begun.wait(SECONDS)
    free.set()
    ahead.close()
    assert ended == [True]
    assert workers() == []


@pytest.mark.parametrize("train", [True, False])
def test_prefetched_batches_are_the_same_ones(train: bool) -> None:
    for augment in ("crop_flip", "resized_crop"):
        plain = batches(image_set(), augment=augment, crop=12, train=train)
        ahead = batches(image_set(), augment=augment, crop=12, train=train, prefetch=True)
        assert equal(list(ahead.epoch(1)), list(plain.epoch(1)))
        assert equal(list(ahead.epoch(1, 2)), list(plain.epoch(1, 2)))


def test_an_epoch_that_is_left_early_leaves_no_thread() -> None:
    epoch = batches(image_set(), prefetch=True).epoch(0)
    next(epoch)
    epoch.close()
    assert workers() == []


def test_an_image_that_cannot_be_gathered_is_told_in_the_training_thread() -> None:
    loader = batches(image_set(), torch.tensor([1, 2, 99, 3]), prefetch=True)
    with pytest.raises(IndexError):
        list(loader.epoch(0))
    assert workers() == []
