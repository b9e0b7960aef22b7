"""Which trials a cluster's nodes have room for, and which of them hold it. Pure: no Ray, no clock.

A trial runs on one node, and its share of a GPU lies on one GPU. Ray picks the node; what is kept
here is where it will do so if it packs tightly, as it does, and where a trial was then heard from.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mcl_bench.records import UserError

Need = Mapping[str, float]
"""What one trial is given, by kind: `CPU` and `GPU`; of a GPU at most one, or a part of one."""

_ROUNDING = 1e-6
"""Ray counts in ten thousandths; ten tenths of a GPU are a whole one."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster, its address, and all that it has."""

    id: str
    address: str
    name: str
    cpus: float
    gpus: int

    def has(self, need: Need) -> bool:
        """Whether such a trial fits while nothing else runs here."""
        return need["CPU"] <= self.cpus and need["GPU"] <= self.gpus

    def count(self, need: Need) -> int:
        """How many such trials fit at once while nothing else runs here."""
        cpu, gpu = need["CPU"], need["GPU"]
        by_cpu = math.floor(self.cpus / cpu + _ROUNDING) if cpu > 0 else math.inf
        by_gpu = self.gpus * math.floor(1 / gpu + _ROUNDING) if gpu > 0 else math.inf
        return int(min(by_cpu, by_gpu))


def refuse_oversized(need: Need, nodes: Iterable[Node]) -> None:
    """Refuse a trial that no node can ever hold, whatever all of them have together.

    Raises:
        UserError: with the biggest node.
    """
    nodes = list(nodes)
    if any(node.has(need) for node in nodes):
        return
    cpus = max((node.cpus for node in nodes), default=0.0)
    gpus = max((node.gpus for node in nodes), default=0)
    with_gpu = max((node.cpus for node in nodes if node.gpus >= need["GPU"]), default=0.0)
    if need["GPU"] > gpus:
        kind, most = "gpus", float(gpus)
        rule = f"a trial needs {need['GPU']:g} GPU, the biggest node has {gpus}"
    elif need["CPU"] > cpus:
        kind, most = "cpus", cpus
        rule = f"a trial needs {need['CPU']:g} CPU, the biggest node has {cpus:g}"
    else:
        kind, most = "cpus", with_gpu
        rule = (
            f"a trial needs {need['CPU']:g} CPU beside its GPU, the biggest node that has one "
            f"has {with_gpu:g}"
        )
    key = f"resources.{kind}"
    raise UserError(f"{key}: {rule}", key=key, remedy=f"ask for less, e.g. {key}={most:g}")


@dataclass(kw_only=True)
class _Room:
    """What a node has left; less than nothing where a trial is to come that does not fit yet."""

    node: Node
    cpu: float
    gpus: list[float] = field(default_factory=list)

    @property
    def overdrawn(self) -> bool:
        """Whether more has been taken than there is."""
        return min(self.cpu, *self.gpus) < -_ROUNDING if self.gpus else self.cpu < -_ROUNDING

    def fits(self, need: Need) -> bool:
        return self.shortage(need) <= _ROUNDING

    def shortage(self, need: Need) -> float:
        """How much is missing for such a trial."""
        gpu = max(0.0, need["GPU"] - max(self.gpus, default=0.0)) if need["GPU"] > 0 else 0.0
        return max(0.0, need["CPU"] - self.cpu) + gpu

    def take(self, need: Need) -> int | None:
        """Take what it needs; returns the number of the GPU that it is on."""
        self.cpu -= need["CPU"]
        if need["GPU"] == 0:
            return None
        fitting = [g for g, left in enumerate(self.gpus) if left + _ROUNDING >= need["GPU"]]
        tight = min if fitting else max
        gpu = tight(fitting or range(len(self.gpus)), key=self.gpus.__getitem__)
        self.gpus[gpu] -= need["GPU"]
        return gpu

    def give_back(self, need: Need, gpu: int | None) -> None:
        self.cpu += need["CPU"]
        if gpu is not None:
            self.gpus[gpu] += need["GPU"]


@dataclass(kw_only=True)
class _Holder:
    need: Need
    node: str | None = None
    gpu: int | None = None
    heard: bool = False


class Places:
    """The nodes that trials may run on now, and the leases that hold room on them."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self._rooms: dict[str, _Room] = {}
        self._holders: dict[str, _Holder] = {}
        self.follow(nodes)

    def __len__(self) -> int:
        """How many leases hold room, or wait for it."""
        return len(self._holders)

    def follow(self, nodes: Iterable[Node]) -> None:
        """The nodes have changed: what was on one that is gone holds no room until it is freed."""
        now = {node.id: node for node in nodes}
        for gone in [known for known in self._rooms if known not in now]:
            del self._rooms[gone]
        for holder in self._holders.values():
            if holder.node is not None and holder.node not in now:
                holder.node = holder.gpu = None
                holder.heard = False
        for name, node in now.items():
            if name not in self._rooms:
                self._rooms[name] = _Room(node=node, cpu=node.cpus, gpus=[1.0] * node.gpus)

    def fits(self, need: Need) -> bool:
        """Whether a node has room for such a trial now."""
        return any(room.fits(need) for room in self._rooms.values())

    def can_hold(self, need: Need) -> bool:
        """Whether a node would have room for such a trial, if nothing else ran there."""
        return any(room.node.has(need) for room in self._rooms.values())

    def homeless(self) -> list[str]:
        """The leases that are on no node, where none would have room for them either."""
        return [
            lease
            for lease, holder in self._holders.items()
            if holder.node is None and not self.can_hold(holder.need)
        ]

    def count(self, need: Need) -> int:
        """How many such trials run at once while nothing else does."""
        return sum(room.node.count(need) for room in self._rooms.values())

    def take(self, lease: str, need: Need) -> None:
        """A trial is placed: where it fits tightest, else where the least is missing.

        In the second case nothing else is placed there until that node has room for it.
        """
        holder = self._holders[lease] = _Holder(need=need)
        self._put_anywhere(holder)

    def stands(self, lease: str, address: str) -> None:
        """A trial has been heard from, on the node of this address.

        If there is no room there for one that was only thought to be there, it is elsewhere.
        """
        holder = self._holders.get(lease)
        found = [node for node, room in self._rooms.items() if room.node.address == address]
        if holder is None or len(found) != 1:
            return
        (node,) = found
        holder.heard = True
        if holder.node == node:
            return
        self._take_away(holder)
        self._put(holder, self._rooms[node])
        guesses = [one for one in self._holders.values() if one.node == node and not one.heard]
        for guess in guesses:
            if not self._rooms[node].overdrawn:
                return
            self._take_away(guess)
            self._put_anywhere(guess)

    def free(self, lease: str) -> None:
        """A trial has ended, or its worker is gone; what was never taken is not given back."""
        holder = self._holders.pop(lease, None)
        if holder is not None:
            self._take_away(holder)

    def _put_anywhere(self, holder: _Holder) -> None:
        able = [room for room in self._rooms.values() if room.node.has(holder.need)]
        if able:
            self._put(holder, min(able, key=lambda room: _preference(room, holder.need)))

    def _put(self, holder: _Holder, room: _Room) -> None:
        holder.node, holder.gpu = room.node.id, room.take(holder.need)

    def _take_away(self, holder: _Holder) -> None:
        if holder.node is not None:
            self._rooms[holder.node].give_back(holder.need, holder.gpu)
        holder.node = holder.gpu = None


def _preference(room: _Room, need: Need) -> tuple[float, float, float]:
    return (room.shortage(need), sum(room.gpus), room.cpu)
