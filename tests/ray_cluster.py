"""A Ray cluster of several nodes on this machine's loopback, in a process of its own.

Node number n has the address 127.0.0.(n + 2). Run as a script it is that process: it reads a
command a line, and answers each with a line of JSON.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running import ROOT

STORE_BYTES = 80 * 2**20
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""So that the death of a node is noticed in seconds."""


class RayCluster:
    """The cluster's process; `environment` is what a driver that joins it needs."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            **HEALTH,
        }
        self._log = (folder / "cluster.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env={
                **os.environ,
                **self.environment,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
                "MCL_BENCH_SAVE_SECONDS": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def ask(self, *words: object) -> Any:
        """What the process answers to a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the cluster's process has ended"
        return json.loads(answer)

    def close(self) -> None:
        """End all nodes."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self._log):
            if stream is not None:
                stream.close()


@contextmanager
def ray_cluster(folder: Path, nodes: Mapping[int, tuple[int, int]]) -> Iterator[RayCluster]:
    """A cluster of nodes, each by its number, with its CPUs and logical GPUs."""
    cluster = RayCluster(folder)
    try:
        for number, (cpus, gpus) in nodes.items():
            cluster.ask("add", number, cpus, gpus)
        yield cluster
    finally:
        cluster.close()


def main() -> None:
    """Be the cluster: `add NUMBER CPUS GPUS` gives the node's raylet and the cluster's address."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = {}
    try:
        for line in sys.stdin:
            verb, number, *rest = line.split()
            if verb == "add":
                nodes[number] = cluster.add_node(
                    num_cpus=int(rest[0]),
                    num_gpus=int(rest[1]),
                    node_ip_address=f"127.0.0.{int(number) + 2}",
                    object_store_memory=STORE_BYTES,
                    include_dashboard=False,
                )
                (raylet,) = nodes[number].all_processes["raylet"]
                told = {"address": cluster.address, "raylet": raylet.process.pid}
                answers.write(json.dumps(told) + "\n")
            else:
                cluster.remove_node(nodes.pop(number), allow_graceful=False)
                answers.write("{}\n")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
