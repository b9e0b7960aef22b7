"""The cost ledger alone: who owns which second, over chosen and drawn histories of events."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcl_bench.records import Costs, TrialName
from mcl_bench.sweep.ledger import Ledger, device_weight

A: TrialName = ("c", "search", 0)
B: TrialName = ("c", "search", 1)


class History:
    """Events in the driver's words; `after` seconds pass before each."""

    def __init__(self, *, slots: int = 1, weight: float = 1.0) -> None:
        self.events: list[dict[str, Any]] = []
        self.clock = 1000.0
        self.say("start")
        self.say("drive", slots=slots, devices={"c": weight}, closed=False)

    def say(
        self, event: str, name: TrialName | None = None, *, after: float = 0.0, **details: Any
    ) -> None:
        self.clock += after
        words = {} if name is None else dict(zip(("cell", "stage", "trial"), name, strict=True))
        line = {"time": 0.0, "clock": self.clock, "event": event, **words, **details}
        self.events.append(line)

    def launch(self, name: TrialName = A, *, after: float = 0.0) -> None:
        self.say("launch", name, after=after)

    def report(
        self, epoch: int, seconds: float, name: TrialName = A, *, late: float = 0.0, **spent: float
    ) -> None:
        after = seconds + late
        self.say("report", name, after=after, epoch=epoch, seconds=seconds, spent=spent)

    def tell(self, state: str, name: TrialName = A, *, after: float = 0.0) -> None:
        self.say("tell", name, after=after, state=state)

    def costs(self, *, live: bool = False) -> Costs:
        return Ledger(self.events).costs(live=live)

    def owned(self, *, live: bool = False) -> dict[str, float]:
        """The slot-seconds of every owner that has any."""
        costs = self.costs(live=live)
        assert sum(costs.slot_seconds.values()) == pytest.approx(costs.driven_seconds)
        return {o: round(s, 6) for o, s in costs.slot_seconds.items() if abs(s) > 1e-9}


def test_a_trials_seconds_go_to_what_its_worker_says_and_the_rest_to_start_up_and_idleness() -> (
    None
):
    history = History(slots=2)
    history.launch()
    history.report(1, 10.0, late=4.0, setup=3.0, wait=1.0, evaluation=2.0)
    history.report(2, 6.0, late=0.5, wait=1.0, evaluation=2.0)
    history.tell("complete", after=0.25)
    history.say("end", after=1.0, state="complete")
    own = {"startup": 7.0, "data_wait": 2.0, "evaluation": 4.0, "training": 7.0}
    assert history.owned() == own | {"idle": 0.5 + 0.25 + 1.0 + 21.75}
    assert history.costs().wall_seconds == pytest.approx(21.75)


@pytest.mark.parametrize(
    ("state", "owner"),
    [("complete", "training"), ("pruned", "pruned"), ("diverged", "pruned"), ("failed", "failure")],
)
def test_a_trials_end_decides_whose_its_training_is(state: str, owner: str) -> None:
    history = History()
    history.launch()
    history.report(1, 5.0, evaluation=1.0)
    history.say("spend", A, after=3.0, seconds=3.0, spent={})
    history.tell(state)
    history.say("end", state="complete")
    assert history.owned() == {owner: 7.0, "evaluation": 1.0}


def test_what_a_lost_worker_had_not_told_is_lost_and_so_are_epochs_that_are_trained_again() -> None:
    history = History()
    history.launch()
    for epoch in (1, 2, 3):
        history.report(epoch, 10.0)
    history.say("relaunch", A, after=4.0, cause="worker lost")
    history.launch(after=1.0)
    history.report(3, 12.0, setup=2.0, evaluation=1.0, carried=5.0)
    history.report(4, 10.0)
    history.tell("complete")
    history.say("end", state="complete")
    lost = 4.0 + 10.0
    assert history.owned() == {"training": 40.0, "preemption": lost, "startup": 2.0, "idle": 1.0}


def test_what_a_checkpoint_in_mid_epoch_held_was_not_lost() -> None:
    history = History()
    history.launch()
    history.report(1, 10.0)
    history.say("relaunch", A, after=60.0, cause="worker lost")
    history.launch()
    history.report(2, 45.0, setup=1.0, carried=55.0)
    history.tell("complete")
    history.say("end", state="complete")
    assert history.owned() == {"training": 10.0 + 55.0 + 44.0, "preemption": 5.0, "startup": 1.0}


def test_work_that_is_done_again_after_a_failure_is_the_failures() -> None:
    history = History()
    history.launch()
    history.report(1, 10.0)
    history.say("spend", A, after=4.0, seconds=4.0, spent={})
    history.say("relaunch", A, cause="oom: no memory")
    history.launch()
    history.report(1, 10.0)
    history.report(2, 10.0)
    history.tell("complete")
    history.say("end", state="complete")
    assert history.owned() == {"training": 20.0, "failure": 14.0}


def test_a_trial_that_leaves_with_a_checkpoint_loses_nothing() -> None:
    history = History()
    history.launch()
    history.say("spend", A, after=6.0, seconds=5.0, spent={"setup": 1.0})
    history.say("interrupt", A, cause="pre-empted")
    history.say("end", state="interrupted")
    history.clock += 100.0
    history.say("start")
    history.say("drive", slots=1, devices={"c": 1.0}, closed=False)
    history.launch()
    history.report(1, 7.0, setup=2.0, carried=4.0)
    history.tell("complete")
    history.say("end", state="complete")
    assert history.owned() == {"training": 9.0, "startup": 4.0}
    assert history.costs().wall_seconds == pytest.approx(13.0)


def test_a_dead_drivers_time_ends_with_its_last_event_and_what_ran_is_lost() -> None:
    history = History(slots=2)
    history.launch(A)
    history.launch(B)
    history.report(1, 10.0, A)
    assert history.owned(live=True) == {"training": 10.0, "open": 10.0}
    assert history.owned() == {"training": 10.0, "preemption": 10.0}
    history.clock = 5.0  # another machine's
    history.say("start")
    history.say("drive", slots=1, devices={"c": 1.0}, closed=False)
    history.say("report", B, epoch=1, value=0.5, seconds=0.0)  # out of its checkpoint
    history.launch(B)
    history.report(2, 3.0, B)
    history.report(1, 3.0, A)
    assert history.owned(live=True)["training"] == 13.0


def test_a_worker_that_says_more_than_there_was_is_cut_to_what_there_was() -> None:
    history = History()
    history.launch()
    history.say("report", A, after=10.0, epoch=1, seconds=40.0, spent={"wait": 30.0, "setup": 30.0})
    history.say("end", state="complete")
    assert history.owned() == {"data_wait": 5.0, "startup": 5.0}


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    history = History()
    history.launch(after=5.0)
    history.clock -= 500.0
    history.report(1, 10.0)
    history.say("end", state="interrupted")
    assert history.owned() == {"idle": 5.0}


def test_a_share_of_a_gpu_counts_as_a_share_and_an_idle_slot_holds_no_device() -> None:
    assert device_weight({"CPU": 4.0, "GPU": 0.0}) == 1.0
    history = History(slots=2, weight=device_weight({"CPU": 1.0, "GPU": 0.25}))
    history.launch()
    history.report(1, 8.0)
    history.say("end", state="complete")
    costs = history.costs()
    assert costs.device_seconds["training"] == 2.0
    assert sum(costs.device_seconds.values()) == 2.0
    assert costs.slot_seconds["idle"] == 8.0


def test_a_duplicate_takes_no_time_and_what_it_saved_is_told_once() -> None:
    history = History()
    for _ in range(2):  # a driver died after the first
        history.say("duplicate", A, saved=30.0)
    history.tell("duplicate")
    history.say("end", state="complete")
    costs = history.costs()
    assert history.owned() == {}
    assert (costs.duplicates, costs.saved_seconds) == (1, 30.0)


def test_more_leases_than_slots_are_more_slots_from_then_on() -> None:
    history = History(slots=1)
    history.launch(A)
    history.say("launch", B, after=5.0)
    history.report(1, 10.0, B)
    history.report(1, 15.0, A)
    history.say("end", state="complete")
    assert history.costs().driven_seconds == pytest.approx(5.0 + 2 * 25.0)
    history.owned()


STEPS = st.tuples(
    st.sampled_from(["launch", "report", "spend", "lose", "tell", "die", "nothing", "duplicate"]),
    st.integers(0, 3),
    st.floats(0, 100),
    st.floats(0, 100),
    st.dictionaries(
        st.sampled_from(["setup", "wait", "evaluation", "carried"]), st.floats(0, 60), max_size=4
    ),
    st.sampled_from(["complete", "pruned", "failed", "diverged"]),
)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, max_size=40), slots=st.integers(1, 3))
def test_in_any_history_the_owners_add_up_to_the_slots_time_and_none_owes(
    steps: list[Any], slots: int
) -> None:
    history = History(slots=slots, weight=0.5)
    epochs = dict.fromkeys(range(4), 0)
    for kind, number, after, seconds, spent, state in steps:
        name: TrialName = ("c", "search", number)
        if kind == "report":
            epochs[number] += state != "failed"  # else an epoch once more
            history.say(kind, name, after=after, epoch=epochs[number], seconds=seconds, spent=spent)
        elif kind == "spend":
            history.say(kind, name, after=after, seconds=seconds, spent=spent)
        elif kind == "lose":
            cause = "oom: full" if state == "failed" else "worker lost"
            history.say("relaunch", name, after=after, cause=cause)
        elif kind == "tell":
            history.say(kind, name, after=after, state=state)
        elif kind == "duplicate":
            history.say(kind, name, after=after, saved=seconds)
        elif kind == "die":
            history.say("end" if state == "failed" else "start", after=after)
            history.say("drive", slots=slots, devices={"c": 0.5}, closed=False)
        else:
            history.say(kind, name if kind == "launch" else None, after=after)
        costs = history.costs(live=state == "pruned")
        assert sum(costs.slot_seconds.values()) == pytest.approx(costs.driven_seconds, abs=1e-6)
        assert min(costs.slot_seconds.values()) >= -1e-6
        held = sum(s for owner, s in costs.slot_seconds.items() if owner != "idle")
        devices = sum(s for owner, s in costs.device_seconds.items() if owner != "idle")
        assert devices == pytest.approx(0.5 * held, abs=1e-6)
