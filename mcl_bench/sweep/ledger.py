"""Where the slots' time went: every slot-second of a sweep has one owner. Pure: it reads no clock.

The ledger hears the events of `events.jsonl` in their order, the driver's own as they are written
or a dead driver's out of the file. Time is the events' `clock`, which no change of the wall clock
moves. A drive lasts from its `drive` event to its `end`, or to the last event of a driver that
died; a slot is held from a trial's launch until it ends or leaves. The owners:

- `startup`: from the launch until the training is open (worker, imports, data, network).
- `training`: what the steps took, but for `data_wait` and `evaluation`.
- `pruned`, `failure`: what was trained by a trial that was pruned or diverged in search, or that
  failed; and the time of a trial that failed without telling.
- `preemption`: work that no checkpoint holds of a worker that was lost or whose driver died, and
  every epoch that is trained again; it is `failure` where a trial starts again because it failed.
- `duplicate`: nothing; what known values saved is told apart.
- `idle`: slots without a trial, and trials that wait for the driver.
- `open`: what the running steps of a living driver have not told yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from mcl_bench.records import Costs, Owner, Stage, TrialName

OWNERS: tuple[Owner, ...] = get_args(Owner)
"""Every owner, in the order in which people read them."""

OWNER_AT_END: Mapping[str, Owner] = {
    "pruned": "pruned",
    "diverged": "pruned",
    "failed": "failure",
    "retried": "failure",
}
"""Whom what a trial trained belongs to, by the state in which it ended; else to `training`."""


OF_FAILURE = frozenset({"oom"})
"""The kinds of cause for which a trial starts again although it failed by itself."""


@dataclass(kw_only=True)
class _Trial:
    """A trial that has not been told: what it has trained, and what a lost lease took with it.

    `held` are the slot-seconds of its leases that have ended.
    """

    held: float = 0.0
    trained: float = 0.0
    trained_devices: float = 0.0
    epochs: int = 0
    lost: float = 0.0
    lost_devices: float = 0.0
    blame: Owner = "preemption"
    saved: float = 0.0


@dataclass(kw_only=True)
class _Lease:
    """A slot that a trial holds; what came before `mark` has its owner.

    `held` are the trial's slot-seconds until then, `unrecorded` is what a step without an epoch
    trained.
    """

    mark: float
    weight: float
    held: float
    told: bool = False
    unrecorded: float = 0.0
    ended: bool = False


class Ledger:
    """Hears the events of one sweep in their order, and says where the time went."""

    def __init__(self, events: Iterable[Mapping[str, Any]] = ()) -> None:
        self._slot = dict.fromkeys(OWNERS, 0.0)
        self._device = dict.fromkeys(OWNERS, 0.0)
        self._wall = self._driven = 0.0
        self._duplicates = 0
        self._saved = 0.0
        self._lengths: dict[tuple[str, Stage], list[float]] = {}
        self._trials: dict[TrialName, _Trial] = {}
        self._leases: dict[TrialName, _Lease] = {}
        self._slots: int | None = None
        self._weights: Mapping[str, float] = {}
        self._since = self._now = 0.0
        self._held = 0.0
        self.limits: Mapping[str, float] | None = None
        """The budget that closed the search, while it is closed."""
        for event in events:
            self.hear(event)

    @property
    def slots(self) -> int:
        """How many slots the drive that is going on has; 0 where none is."""
        return self._slots or 0

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        kind, clock = event["event"], event.get("clock", event["time"])
        if kind in {"start", "drive"}:
            self._close()  # of a driver that died
        if kind == "close":
            self.limits = event["limits"]
        if kind == "drive":
            self._slots, self._weights = event["slots"], event["devices"]
            self._since = self._now = clock
            self.limits = self.limits if event["closed"] else None
        if self._slots is None:
            return
        self._now = max(self._now, clock)
        if kind == "end":
            self._close()
        elif "trial" in event:
            self._hear_trial(kind, (event["cell"], event["stage"], event["trial"]), event)

    def length(self, cell: str, stage: Stage) -> float | None:
        """The mean slot-seconds of a complete trial, all its leases together; None before one."""
        total, count = self._lengths.get((cell, stage), (0.0, 0))
        return total / count if count else None

    def held(self, name: TrialName, clock: float) -> float:
        """The slot-seconds until `clock` of a trial that holds a slot."""
        lease = self._leases.get(name)
        return 0.0 if lease is None else lease.held + max(0.0, clock - lease.mark)

    def costs(self, *, clock: float | None = None, live: bool = False) -> Costs:
        """The costs until `clock`, by default until the last event.

        What running trials have not told yet is `open` if their driver is `live`, else it is lost.
        """
        now = self._now if clock is None else max(self._now, clock)
        slot, device = dict(self._slot), dict(self._device)
        wall, driven = self._wall, self._driven
        if self._slots is not None:
            pending = 0.0
            for lease in self._leases.values():
                owner: Owner = "open" if live else "preemption"
                slot[owner] += now - lease.mark
                device[owner] += (now - lease.mark) * lease.weight
                pending += now - lease.mark
            segment = self._slots * (now - self._since)
            slot["idle"] += segment - self._held - pending
            wall, driven = wall + now - self._since, driven + segment
        return Costs(
            slot_seconds=slot,
            device_seconds=device,
            driven_seconds=driven,
            wall_seconds=wall,
            duplicates=self._duplicates,
            saved_seconds=self._saved,
            closed=self.limits is not None,
        )

    def _hear_trial(self, kind: str, name: TrialName, event: Mapping[str, Any]) -> None:
        if kind == "tell":
            self._tell(name, event["state"])
            return
        trial = self._trials.setdefault(name, _Trial())
        if kind == "launch":
            self._leave(name, trial)
            weight = self._weights.get(name[0], 1.0)
            self._leases[name] = _Lease(mark=self._now, weight=weight, held=trial.held)
            self._widen()
        elif kind in {"report", "spend"}:
            self._step(name, trial, event)
        elif kind in {"relaunch", "interrupt"}:
            failed = event["cause"].partition(":")[0] in OF_FAILURE
            self._leave(name, trial, owner="failure" if failed else "preemption")
        elif kind == "duplicate":
            trial.saved = event["saved"]

    def _step(self, name: TrialName, trial: _Trial, event: Mapping[str, Any]) -> None:
        """Give the time since the lease's mark to its owners: what the worker told, and the rest.

        An epoch without `spent` comes out of a checkpoint and took no time now.
        """
        lease, epoch = self._leases.get(name), event.get("epoch")
        if lease is not None and "spent" in event:
            interval = self._now - lease.mark
            parts = _parts(event["spent"], told=event["seconds"], interval=interval)
            repeated = epoch is not None and epoch <= trial.epochs
            self._own(lease, "idle" if lease.told else "startup", parts["rest"])
            self._own(lease, "startup", parts["setup"])
            self._own(lease, trial.blame if repeated else "data_wait", parts["wait"])
            self._own(lease, trial.blame if repeated else "evaluation", parts["evaluation"])
            self._own(lease, trial.blame if repeated else "training", parts["training"])
            if not repeated:
                trial.trained += parts["training"]
                trial.trained_devices += parts["training"] * lease.weight
            if epoch is None:
                lease.unrecorded += parts["training"]
                lease.ended = True
            if not lease.told:
                self._find_again(trial, 0.0 if repeated else event["spent"].get("carried", 0.0))
            lease.told = True
            lease.mark = self._now
        if epoch is not None:
            trial.epochs = max(trial.epochs, epoch)

    def _find_again(self, trial: _Trial, carried: float) -> None:
        """Of what a lease was thought to have lost, a checkpoint held `carried` seconds."""
        if trial.lost > 0:
            share = min(1.0, max(0.0, carried) / trial.lost)
            found, devices = share * trial.lost, share * trial.lost_devices
            self._move(trial.blame, "training", found, devices)
            trial.trained += found
            trial.trained_devices += devices
        trial.lost = trial.lost_devices = 0.0

    def _leave(self, name: TrialName, trial: _Trial, owner: Owner = "preemption") -> None:
        """A trial leaves its slot before its end; what it has not told is lost."""
        lease = self._leases.pop(name, None)
        if lease is None:
            return
        trial.blame = owner
        seconds = self._now - lease.mark
        self._own(lease, owner, seconds)
        trial.held = lease.held
        trial.lost += seconds
        trial.lost_devices += seconds * lease.weight
        if owner == "failure":
            devices = lease.unrecorded * lease.weight
            self._move("training", owner, lease.unrecorded, devices)
            trial.trained -= lease.unrecorded
            trial.trained_devices -= devices

    def _tell(self, name: TrialName, state: str) -> None:
        trial = self._trials.pop(name, None)
        lease = self._leases.pop(name, None)
        if lease is not None:
            untold = state in {"failed", "retried"} and not lease.ended
            self._own(lease, "failure" if untold else "idle", self._now - lease.mark)
            if state == "complete":
                length = self._lengths.setdefault(name[:2], [0.0, 0])
                length[0] += lease.held
                length[1] += 1
        if trial is None:
            return
        owner = OWNER_AT_END.get(state, "training")
        self._move("training", owner, trial.trained, trial.trained_devices)
        if state == "duplicate":
            self._duplicates += 1
            self._saved += trial.saved

    def _own(self, lease: _Lease, owner: Owner, seconds: float) -> None:
        self._held += seconds
        lease.held += seconds
        self._slot[owner] += seconds
        self._device[owner] += seconds * lease.weight

    def _move(self, source: Owner, target: Owner, seconds: float, devices: float) -> None:
        self._slot[source] -= seconds
        self._device[source] -= devices
        self._slot[target] += seconds
        self._device[target] += devices

    def _widen(self) -> None:
        """Every lease is a slot: where there are more than were told, there are more from now."""
        assert self._slots is not None, "a lease is given within a drive"
        if len(self._leases) > self._slots:
            self._segment()
            self._slots = len(self._leases)

    def _segment(self) -> None:
        """Count the slots' time so far; the leases that go on are counted from here."""
        assert self._slots is not None, "time is counted within a drive"
        pending = sum(self._now - lease.mark for lease in self._leases.values())
        segment = self._slots * (self._now - self._since)
        self._slot["idle"] += segment - self._held - pending
        self._wall += self._now - self._since
        self._driven += segment
        # What running trials tell later of the time before this moment has been counted here.
        self._held = -pending
        self._since = self._now

    def _close(self) -> None:
        """End the drive that is going on; trials that hold slots lose what they didn't tell."""
        if self._slots is None:
            return
        for name in list(self._leases):
            self._leave(name, self._trials.setdefault(name, _Trial()))
        self._segment()
        self._held = 0.0
        self._slots = None


def device_weight(resources: Mapping[str, float]) -> float:
    """The devices that a trial of these resources holds: its GPUs, or one where it has none."""
    return resources["GPU"] or 1.0


def _parts(spent: Mapping[str, float], *, told: float, interval: float) -> dict[str, float]:
    """The interval's seconds by what a step of `told` seconds went to; `rest` is not the step's.

    They add up to the interval, whatever a worker's clock says.
    """
    known = {part: max(0.0, spent.get(part, 0.0)) for part in ("setup", "wait", "evaluation")}
    told = max(told, sum(known.values()))
    scale = min(1.0, interval / told) if told > 0 else 0.0
    parts = {part: seconds * scale for part, seconds in known.items()}
    step = told * scale
    return parts | {"training": step - sum(parts.values()), "rest": interval - step}
