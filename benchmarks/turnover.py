"""P3: an empty trial turns over fast: two slots, tracking on, every record written.

Ours is the real line (driver, Optuna on SQLite, MLflow on SQLite, the folder's flushed files, Ray
Tune) with a worker whose training does nothing; see `rig/ours.py` for what is replaced and how.
Its peers give Tune the same empty epoch with the same metrics, see `rig/plain_tune.py`: plain Tune
(function trainable, OptunaSearch in memory, MLflowLoggerCallback), and Tune's class trainable with
`reuse_actors`, with and without MLflow. Syne Tune's local backend starts a process for each trial,
see `rig/syne.py`; it has no tracking. The peers keep nothing that a killed run can go on from.

The turnover is the time between two ends of trials, on all slots together, without the first ones:
the start of Ray and of the first actors is not in it. How many trials each process ran is
printed, since Tune may run all of a sweep's short trials on one actor while a second one starts.

Run: `python benchmarks/turnover.py [N [PEER_N]]`: N trials of ours and of the reusing peers
(default 150), PEER_N of plain Tune and of Syne Tune (default 20). Exit code 1 if the promise is
broken.
"""

import sys

from rig.measure import Measured, conditions, measure, verdict
from rig.work import SLOTS, Work

PROMISE_SECONDS = 0.12
PROMISE_RATIO = 15.0
SKIPPED = 2 * SLOTS
OURS = "mcl_bench, tracking on"
PLAIN = "plain Tune, Optuna and MLflow"
SYNE = "Syne Tune, local backend"
RUNS: dict[str, tuple[str, dict[str, bool]]] = {
    OURS: ("rig.ours", {"tracking": True}),
    PLAIN: ("rig.plain_tune", {"reuse": False, "tracking": True}),
    "Tune, reuse_actors, MLflow": ("rig.plain_tune", {"reuse": True, "tracking": True}),
    "Tune, reuse_actors, no MLflow": ("rig.plain_tune", {"reuse": True, "tracking": False}),
    SYNE: ("rig.syne", {}),
}
"""Name, module and flags of each run."""


def report(measured: dict[str, Measured]) -> tuple[str, bool]:
    """The table that is printed, and whether the promise is kept."""
    seconds = {name: run.turnover(SKIPPED) for name, run in measured.items()}
    ours = seconds[OURS]
    lines = [
        f"P3: turnover of an empty trial, {SLOTS} slots, without the first {SKIPPED} trials; "
        f"{conditions()}",
        f"{'':32}{'trials':>8}{'s/trial':>9}{'ratio':>8}  trials of each process",
    ]
    for name, run in measured.items():
        ratio = seconds[name] / ours
        lines.append(f"{name:32}{len(run.ends):8}{seconds[name]:9.3f}{ratio:7.1f}x  {run.spread}")
    tracking = sum(
        value
        for name, value in measured[OURS].tracker_seconds.items()
        if name in {"start_trial", "log_epochs", "finish_trial"}
    ) / len(measured[OURS].ends)
    lines.append(f"of ours, in the tracker: {tracking:.3f} s/trial")
    ratio = seconds[PLAIN] / ours
    kept = ours <= PROMISE_SECONDS and ratio >= PROMISE_RATIO
    promise = f"<= {PROMISE_SECONDS} s and >= {PROMISE_RATIO:g}x faster than plain Tune"
    lines.append(verdict(promise, f"{ours:.3f} s, {ratio:.1f}x", kept=kept))
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether the promise is kept."""
    counts = [int(argument) for argument in sys.argv[1:]]
    trials, plain = (*counts, *(150, 20)[len(counts) :])
    if min(trials, plain) <= SKIPPED:
        raise SystemExit(f"N and PEER_N must be more than {SKIPPED}")
    measured = {}
    for name, (module, flags) in RUNS.items():
        work = Work(trials=plain if name in {PLAIN, SYNE} else trials, epochs=1, seconds=0.0)
        measured[name] = measure(module, work, **flags)
    text, kept = report(measured)
    sys.stdout.write(text + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
