"""A cluster of several nodes, by the real command: what is refused, nodes lost and won, GPUs."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from ray_cluster import RayCluster, ray_cluster
from running import command, environment, read_lines
from test_kills import kill_tree
from whole import Expected

from mcl_bench.sweep.failures import kind_of

NODES = {0: (1, 0), 1: (1, 0), 2: (1, 2)}
"""Number of each node, with its CPUs and logical GPUs."""

PRIVATE = 7
"""A node that has nothing of what lies in the folder `hidden`."""

EPOCHS = 12
SMALL = ("search.trials=3", "confirm.seeds=1", f"train.epochs={EPOCHS}", "search.pruner=none")
SHARES = {"whole": 1.0, "half": 0.5, "cpu": 0.0}
"""The GPU that a trial of each model of `SIZES` is given."""

LONG = "data.options.train_per_class=240"
"""Trials that take longer than a worker's start: shorter ones all go to workers that are there."""
EXPECTED = Expected(
    name="tiny",
    cells=("parts-convnet-ce", "parts-convnet-mc"),
    trials=3,
    seeds=1,
    epochs=EPOCHS,
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The cluster, and the folder that a test may use."""

    cluster: RayCluster
    address: str
    raylets: dict[int, int]
    folder: Path
    file: Path

    def environment(self, home: Path) -> dict[str, str]:
        return {**environment(home), **self.cluster.environment}

    def sweep(self, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the sweep to its end."""
        return subprocess.run(
            command("sweep", str(self.file), *words, "--address", self.address),
            env=self.environment(home),
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nodes")
    file = folder / "tiny.yaml"
    file.write_text(tiny_experiment)
    with ray_cluster(folder, {}) as cluster:
        added = {n: cluster.ask("add", n, *has) for n, has in NODES.items()}
        yield Site(
            cluster=cluster,
            address=added[0]["address"],
            raylets={number: told["raylet"] for number, told in added.items()},
            folder=folder,
            file=file,
        )


@contextmanager
def private_node(site: Site, hidden: Path) -> Iterator[None]:
    """A further node that sees an empty folder in the place of `hidden`."""
    ray = Path(sys.executable).with_name("ray")
    start = (
        f"mount -t tmpfs none {hidden} && exec {ray} start --address {site.address} --block "
        f"--node-ip-address 127.0.0.{PRIVATE + 2} --num-cpus 4 --num-gpus 0 "
        "--object-store-memory 80000000"
    )
    with (
        (site.folder / "private.txt").open("w") as log,
        subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", start],
            env={**site.environment(site.folder), "MCL_BENCH_SAVE_SECONDS": "0"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_for(
                lambda: "Ray runtime started" in (site.folder / "private.txt").read_text(),
                process,
            )
            yield
        finally:
            kill_tree(process.pid)


def wait_for(
    condition: Callable[[], Any], process: "subprocess.Popen[Any]", *, seconds: float = 240
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before that"
        assert time.monotonic() < deadline, "that did not come"
        time.sleep(0.05)


def test_what_a_node_cannot_see_or_hold_is_refused_before_anything_starts(site: Site) -> None:
    hidden, home = site.folder / "hidden", site.folder / "hidden" / "runs"
    hidden.mkdir()
    if subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False).returncode:
        pytest.skip("this machine lets no process have mounts of its own")
    shared = f"files={site.folder / 'shared'}"
    draw_images(hidden / "images")
    with private_node(site, hidden):
        several = site.sweep(home)
        assert several.returncode == 2, several.stderr
        assert "files: the cluster has 4 nodes" in several.stderr
        assert "set files to a folder that every node sees" in several.stderr
        blind = site.sweep(home, f"files={hidden / 'files'}")
        assert blind.returncode == 2, blind.stderr
        assert "the driver's probe file can't be read there" in blind.stderr
        assert f"(127.0.0.{PRIVATE + 2}): files: the driver" in blind.stderr
        big = site.sweep(home, shared, "resources.cpus=5")
        assert big.returncode == 2, big.stderr
        assert "a trial needs 5 CPU, the biggest node has 4" in big.stderr
        folder = ("data.name=folder", f"data.root={hidden / 'images'}", "data.options=null")
        bare = site.sweep(home, shared, *folder)
        assert bare.returncode == 3, bare.stderr
        assert f"(127.0.0.{PRIVATE + 2}): the packed file" in bare.stderr
        assert "cannot be made again" in bare.stderr
        assert not (home / "mlflow.db").exists()
        assert not (home / "sweeps/tiny").exists()
        # Only the private node has 4 CPUs, and its store is empty: it packs the images itself.
        lone = ("search.trials=1", "confirm.seeds=1", "train.epochs=1", "search.pruner=none")
        packed = site.sweep(home, shared, *lone, "resources.cpus=4", "resources.gpus=0")
        assert packed.returncode == 0, packed.stderr


def draw_images(folder: Path) -> None:
    """Two classes of a few images, as a `folder` has them."""
    for number in range(16):
        path = folder / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number * 15, 10 * (number % 7), 9)).save(path)


@contextmanager
def sweeping(site: Site, home: Path, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """The sweep as a process; it is gone at the end."""
    with (
        (home.parent / "out.txt").open("a") as out,
        subprocess.Popen(
            command("sweep", str(site.file), *words, "--address", site.address),
            env=site.environment(home),
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        ) as sweep,
    ):
        try:
            yield sweep
        finally:
            kill_tree(sweep.pid)


def reported(home: Path) -> list[dict[str, Any]]:
    events = home / "sweeps/tiny/events.jsonl"
    lines = read_lines(events) if events.exists() else []
    return [event for event in lines if event["event"] == "report"]


def raylet_of(pid: int) -> int | None:
    """The raylet that a worker's process belongs to."""
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return None


SIZES = """\
version: 1
name: sizes
data: {name: parts, options: {classes: 2, train_per_class: 4, test_per_class: 2, size: 32}}
matrix:
  model:
    - {backbone: convnet, label: whole, resources: {gpus: 1}}
    - {backbone: convnet, label: half, resources: {gpus: 0.5, max_concurrent: 3}}
    - {backbone: convnet, label: cpu, resources: {gpus: 0}}
model: {weights: none, channels: adapter, head: avgmax}
arms: {ce: {loss: {name: ce}}}
train: {epochs: 6, batch_size: 4}
search:
  {trials: 3, sampler: random, pruner: none, space: {train.optimizer.lr: {log: [0.001, 0.1]}}}
confirm: {seeds: 1}
resources: {cpus: 0.25, max_concurrent: 5}
"""
"""Trials of a whole GPU, of half a one and of none, each waiting six seconds."""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_shares_of_gpus_and_limits_hold_at_every_moment(site: Site, tmp_path: Path) -> None:
    home, file = tmp_path / "runs", tmp_path / "sizes.yaml"
    file.write_text(f"{SIZES}files: {tmp_path / 'shared'}\n")
    script = str(Path(__file__).parents[1] / "idle_sweep.py")
    done = subprocess.run(
        [sys.executable, script, str(file), str(home), site.address],
        env=site.environment(home),
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    trials = [json.loads(path.read_text()) for path in (home / "places").glob("*.json")]
    assert len(trials) == 12
    by_cell = {name: [one for one in trials if f"-{name}-" in one["cell"]] for name in SHARES}
    assert {one["device"] for name in ("whole", "half") for one in by_cell[name]} == {"cuda"}
    assert {one["device"] for one in by_cell["cpu"]} == {"cpu"}
    assert [len(one["gpus"]) for one in by_cell["cpu"]] == [0] * 4
    moments = [
        {
            name: [one for one in group if one["began"] <= now < one["ended"]]
            for name, group in cells
        }
        for now in (one["began"] for one in trials)
        for cells in [by_cell.items()]
    ]
    for moment in moments:
        assert sum(map(len, moment.values())) <= 5
        assert len(moment["half"]) <= 3
        load: Counter[str] = Counter()
        for name, running in moment.items():
            for gpu in (gpu for one in running for gpu in one["gpus"]):
                load[gpu] += SHARES[name]
        assert max(load.values(), default=0) <= 1, "a GPU holds more than it has"
    assert any(
        len(moment["half"]) >= 2 and len({one["gpus"][0] for one in moment["half"]}) == 1
        for moment in moments
    ), "no GPU was ever shared"
    assert any(moment["cpu"] and moment["half"] for moment in moments)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_nodes_lost_and_won_while_it_runs_neither_lose_nor_repeat_a_trial(
    site: Site, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    words = (*SMALL, LONG, "resources.gpus=0", f"files={tmp_path / 'shared'}")

    def raylets() -> set[int | None]:
        """The nodes whose workers have been heard from and still run."""
        return {raylet_of(event["pid"]) for event in reported(home)} - {None}

    with sweeping(site, home, *words) as sweep:
        wait_for(lambda: raylets() >= set(site.raylets.values()), sweep)
        began = time.monotonic()
        sweep.send_signal(signal.SIGINT)
        assert sweep.wait(timeout=30) == 130, (tmp_path / "out.txt").read_text()
        assert time.monotonic() - began < 20
    events = read_lines(home / "sweeps/tiny/events.jsonl")
    left = [event for event in events if event["event"] == "interrupt"]
    assert len(left) >= len(NODES), "the word reached the trials of every node"
    assert {kind_of(event["cause"]) for event in left} == {"preempted"}
    before = len(reported(home))
    with sweeping(site, home, *words) as sweep:
        wait_for(lambda: site.raylets[1] in raylets() and len(reported(home)) > before, sweep)
        new = site.cluster.ask("add", 3, 1, 0)["raylet"]
        site.cluster.ask("remove", 1)
        wait_for(lambda: new in raylets(), sweep)
        assert sweep.wait(timeout=240) == 0, (tmp_path / "out.txt").read_text()
    EXPECTED.check(home)
    events = read_lines(home / "sweeps/tiny/events.jsonl")
    again = [kind_of(event["cause"]) for event in events if event["event"] == "relaunch"]
    assert again and set(again) <= {"lost", "preempted"}
    trained = [
        (event["cell"], event["stage"], event["trial"], event["epoch"])
        for event in events
        if event["event"] == "report" and event["seconds"] > 0
    ]
    assert len(trained) == len(set(trained)), "an epoch with a checkpoint was trained again"
    said = (tmp_path / "out.txt").read_text()
    assert "has joined" in said
    assert not [word for word in ("Traceback", "raylet", "ray.") if word in said], said
