"""Connecting to Ray: a fresh local one, or the cluster at an address."""

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mcl_bench.records import RunError, UserError
from mcl_bench.spec import ResourcesSpec
from mcl_bench.sweep.places import Need, Node, refuse_oversized
from mcl_bench.sweep.watch import HELD_SECONDS, SHUTDOWN_SECONDS, Abandon, RayWatch

PROBE_SECONDS = 5.0
"""How long a cluster's address may take to answer."""

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no tensorboard files, no CSV
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # nothing is ever restored from Tune's own state
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment that keeps Ray to what a sweep needs of it."""

MUTE = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_ALLOW_REGEX": "", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}


@contextmanager
def connected(
    address: str | None, *, abandon: Abandon, verbose: bool = False
) -> Iterator[RayWatch]:
    """Be connected to the cluster while the block runs; gives the watch that is kept on it.

    Without an address a local Ray of this process is started, with a token of its own and no
    dashboard, and ended afterwards; where it dies and holds this process, `abandon` is called.

    Raises:
        UserError: no cluster answers at `address`.
        RunError: the local Ray does not start, or what the block raised came of its death.
    """
    os.environ.update(QUIET)
    # What Ray prints of other processes goes through its deduplicator; that can let nothing pass.
    os.environ.update({"RAY_DEDUP_LOGS": "0"} if verbose else MUTE)
    address = address or None
    if address is not None:
        _probe(address)
    else:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with _signals_held():
        import ray

    level = logging.INFO if verbose else logging.CRITICAL
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            logging_level=level,
            log_to_driver=verbose,
            namespace="mcl_bench",
        )
    except Exception as error:  # Ray raises plain ones
        if address is not None:
            raise _no_answer(address, error) from error
        ray.shutdown()
        raise RunError(
            f"the local Ray did not start: {error}",
            remedy="nothing is lost: the same command goes on",
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray has set its own
    for name in ("ray", "ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(level)
    watch = RayWatch(abandon)
    try:
        yield watch
    except Exception as error:
        if address is None and (death := watch.look()) is not None:
            raise death from error
        raise
    finally:
        with watch.over(seconds=HELD_SECONDS if watch.look() else SHUTDOWN_SECONDS):
            ray.shutdown()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: raised in an import of Ray's, their exception can be lost.

    Ray's compiled module tells a failure to patch `asyncio` as a warning, whatever it was.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _no_answer(address: str, error: Exception) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address}: {error}",
        remedy="start one with `ray start --head`, or leave --address out for a local one",
    )


def _probe(address: str) -> None:
    """Refuse a host:port that nobody answers at; Ray itself would try for a minute and more."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise _no_answer(address, error) from error


def trial_cpus(spec: ResourcesSpec) -> float:
    """How many CPUs a trial is given, `auto` resolved."""
    return 1.0 if spec.cpus == "auto" else spec.cpus


def trial_resources(spec: ResourcesSpec, nodes: Sequence[Node]) -> Need:
    """What one trial is given of these nodes, `auto` resolved: CPUs and GPUs.

    Raises:
        UserError: no node can ever hold such a trial.
    """
    some_gpu = any(node.gpus for node in nodes)
    gpus = (1.0 if some_gpu else 0.0) if spec.gpus == "auto" else spec.gpus
    need = {"CPU": trial_cpus(spec), "GPU": gpus}
    refuse_oversized(need, nodes)
    return need


def alone(need: Need, nodes: Sequence[Node]) -> Need:
    """What a trial is given so that nothing runs beside it: a whole GPU, or a whole node's CPUs.

    The biggest node is asked for.
    """
    if need["GPU"] > 0:
        return {**need, "GPU": max(1.0, need["GPU"])}
    cpus = max((node.cpus for node in nodes), default=0.0)
    return {**need, "CPU": max(need["CPU"], cpus)}


def threads(cpus: float) -> int:
    """The CPU threads of a trial that is given so many CPUs; the last bits depend on them."""
    return max(1, int(cpus))


def this_machine() -> Node:
    """What a Ray that is started here has to give: its CPUs, and the GPUs that CUDA sees."""
    from mcl_bench.training import count_gpus

    cpus = float(os.cpu_count() or 1)
    return Node(id="here", address="", name=socket.gethostname(), cpus=cpus, gpus=count_gpus())
