"""The nodes of the connected cluster that a sweep's trials may run on.

A node other than the driver's is used once it has read what the driver wrote under `files`, has
written there itself, and has the packed images in its store (which it packs if they are not there).
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mcl_bench import __version__, files
from mcl_bench.records import DataError, RunError, UserError
from mcl_bench.spec import DataSpec
from mcl_bench.sweep.places import Node
from mcl_bench.sweep.watch import local_ray_died

NODE_LABEL = "ray.io/node-id"
"""The label that Ray gives each node."""

ANSWER_SECONDS = 60.0
"""How long a node may take to start a process and say whether it reads the driver's file."""

_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What a node packs, if its store lacks the file: images, by their settings and digest."""

    data: str
    digest: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Duty:
    """What a node is asked to show: the folder of `files`, the store, and what it is to hold."""

    files: str
    token: str
    store: str
    packings: tuple[Packing, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a node has shown: what it can't do, and whether its store lacks images."""

    fault: UserError | None = None
    lacking: bool = False


class Nodes:
    """Which nodes are used: all of a local Ray; of a cluster those that can do what they must.

    Use it as a context: the probe file is there as long. `shared` is whether the experiment says
    where `files` are; without that only the driver's own node is used. `tell` is told of nodes that
    come later, and of those of them that can't be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shared: bool,
        store: Path,
        packings: Sequence[Packing],
        local: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._probe = folder / "probe"
        self._duty = Duty(
            files=str(folder),
            token=secrets.token_hex(8),
            store=str(store),
            packings=tuple(packings),
        )
        self._shared = shared
        self._local = local
        self._tell = tell
        self._own = ray.get_runtime_context().get_node_id()
        self._used = {self._own}
        self._refused: set[str] = set()
        self._asked: dict[Any, Node] = {}
        self._at_start: list[Node] = []

    def __enter__(self) -> Self:
        if not self._local:
            self._probe.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(self._probe, self._duty.token)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._probe.unlink(missing_ok=True)
        if self._shared:
            with contextlib.suppress(OSError):  # trials have left something there
                self._probe.parent.rmdir()

    @property
    def selector(self) -> str | None:
        """Where Ray may place a trial, as a selector of node ids; None: anywhere."""
        if self._local:
            return None
        if not self._shared:
            return self._own
        return f"!in({', '.join(sorted(self._refused))})" if self._refused else None

    def open(self, mention: Callable[[str], None]) -> list[Node]:
        """The nodes that there are at the start, once all can be used.

        `mention` is told what is waited for.

        Raises:
            RunError: there is no node any more.
            UserError: `files` is not set though there are several, or a node can't use it.
            DataError: a node lacks the images and can't pack them.
        """
        nodes = self._at_start = _alive()
        if not nodes:
            raise local_ray_died("its node is gone")
        others = [node for node in nodes if node.id != self._own]
        if self._local or not others:
            return nodes
        if not self._shared:
            raise UserError(
                f"files: the cluster has {len(nodes)} nodes, and trials keep their checkpoints in "
                "the sweep's folder, which only the driver's node need see",
                key="files",
                remedy="set files to a folder that every node sees, e.g. on NFS",
            )
        lacking = self._hear_all(others, pack=False, seconds=ANSWER_SECONDS)
        if lacking:
            names = ", ".join(node.name for node in lacking)
            mention(f"images are packed on {names}")
            self._hear_all(lacking, pack=True, seconds=None)
        self._used |= {node.id for node in others}
        return [node for node in _alive() if node.id in self._used]

    def watch(self) -> list[Node]:
        """The nodes that can be used now; one that has come since is asked first, meanwhile."""
        if self._local:  # nobody can join, and where it dies somebody else notices
            return self._at_start
        nodes = _alive()
        known = self._used | self._refused | {node.id for node in self._asked.values()}
        for node in nodes:
            if node.id not in known:
                self._meet(node)
        done, _ = ray.wait(list(self._asked), timeout=0) if self._asked else ([], [])
        for answer in done:
            self._admit(self._asked.pop(answer), answer)
        return [node for node in nodes if node.id in self._used]

    def _meet(self, node: Node) -> None:
        if self._shared:
            self._asked[_ask(node, self._duty, pack=True)] = node
        else:
            self._refused.add(node.id)
            self._tell(f"node {node.name} has joined and is not used: files is not set")

    def _admit(self, node: Node, answer: Any) -> None:
        fault = _answer(node, answer).fault
        if fault is None:
            self._used.add(node.id)
            self._tell(f"node {node.name} has joined")
        else:
            self._refused.add(node.id)
            self._tell(f"node {node.name} has joined and is not used: {fault.rule}")

    def _hear_all(self, nodes: Sequence[Node], *, pack: bool, seconds: float | None) -> list[Node]:
        """Ask all nodes at once; returns those that lack images, raises what one can't do."""
        asked = {_ask(node, self._duty, pack=pack): node for node in nodes}
        deadline = None if seconds is None else time.monotonic() + seconds
        lacking = []
        while asked:
            done, _ = ray.wait(list(asked), timeout=_POLL_SECONDS)
            for answer in done:
                node = asked.pop(answer)
                shown = _answer(node, answer)
                if shown.fault is not None and node.id in {one.id for one in _alive()}:
                    raise shown.fault
                if shown.lacking:
                    lacking.append(node)
            if asked and deadline is not None and time.monotonic() > deadline:
                names = ", ".join(node.name for node in asked.values())
                raise UserError(
                    f"files: no answer in {seconds:g} s from {names}, asked to read {self._probe}",
                    key="files",
                    remedy="see that mcl_bench runs there, or take the node out of the cluster",
                )
        return lacking


def _alive() -> list[Node]:
    return [
        Node(
            id=entry["NodeID"],
            address=entry["NodeManagerAddress"],
            name=f"{entry['NodeManagerHostname']} ({entry['NodeManagerAddress']})",
            cpus=entry["Resources"].get("CPU", 0.0),
            gpus=int(entry["Resources"].get("GPU", 0)),
        )
        for entry in _entries()
        if entry["Alive"]
    ]


def _entries() -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise RunError(
            f"the Ray cluster no longer answers: {error}",
            remedy="nothing is lost: when it is there again, the same command goes on",
        ) from error
    return entries


def _ask(node: Node, duty: Duty, *, pack: bool) -> Any:
    how: dict[str, Any] = {
        "num_cpus": 0,
        "max_retries": 0,
        "max_calls": 1,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
    }
    show: Any = _show  # Ray's own types know no keywords of a function
    task: Any = ray.remote(**how)(show)
    return task.remote(duty, __version__, pack=pack)


def _answer(node: Node, answer: Any) -> Shown:
    """What a node has shown; what it can't do, with its name."""
    try:
        shown: Shown = ray.get(answer)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        remedy = f"install mcl_bench {__version__} on every node"
        shown = Shown(fault=UserError(f"could not run mcl_bench: {why}", remedy=remedy))
    fault = shown.fault
    if fault is None:
        return shown
    rule = f"node {node.name}: {fault.rule}"
    return Shown(fault=type(fault)(rule, key=fault.key, remedy=fault.remedy))


def _show(duty: Duty, version: str, *, pack: bool) -> Shown:
    """Run on a node: show that it can do its duty; with `pack` the images are packed too."""
    if __version__ != version:
        rule = f"it has mcl_bench {__version__}, the driver {version}"
        remedy = "install the same version on every node"
        return Shown(fault=UserError(rule, remedy=remedy))
    probe = Path(duty.files, "probe")
    own = probe.with_name(f"probe-{secrets.token_hex(4)}")
    try:
        found = probe.read_text(encoding="utf-8")
        own.write_text(duty.token, encoding="utf-8")
        own.unlink()
    except OSError as error:
        return Shown(fault=_unshared(f"{error.strerror}: {error.filename}"))
    if found != duty.token:
        return Shown(fault=_unshared(f"{probe} is not the file that the driver wrote"))
    lacking = [packing for packing in duty.packings if not Path(packing.path).is_file()]
    if lacking and pack:
        return Shown(fault=_pack(lacking, store=Path(duty.store)))
    return Shown(lacking=bool(lacking))


def _unshared(why: str) -> UserError:
    return UserError(
        f"files: the driver's probe file can't be read there, or no file written: {why}",
        key="files",
        remedy="set files to a folder that every node sees, e.g. on NFS",
    )


def _pack(packings: Sequence[Packing], *, store: Path) -> UserError | None:
    from mcl_bench import data

    for packing in packings:
        spec = DataSpec.model_validate_json(packing.data)
        try:
            data.prepare(spec, store=store, digest=packing.digest)
        except DataError as error:
            remedy = "let data.root or MCL_HOME lie where every node reads it"
            return DataError(error.rule, key=error.key, remedy=remedy)
        except UserError as error:
            return error
    return None
