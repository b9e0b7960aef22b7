"""P4: a sweep of 5 s trials keeps its slots busy. P6: tracking costs next to nothing of its time.

A trial sleeps through 5 epochs of 1 s in the real worker, and the real line runs it: driver,
Optuna on SQLite, the folder's flushed files, Ray Tune; see `rig/ours.py`. The same sweep is run
with MLflow on SQLite and with a tracker that keeps nothing, in turn, each in a fresh folder.

P4: busy is what the epochs themselves took, of the slots' time from the first launch to the last
end: the start of the actors is idle time, the start of Ray is not the slots'. The peer is plain
Tune (function trainable, OptunaSearch, MLflowLoggerCallback) with the same trials.

P6: the wall time of the same span, with tracking against without. A sleeping trial leaves the cores
to the driver, so the tracker's CPU time is printed as well: where trials keep every core busy, a
sweep takes at most that much longer. Making the store of a new home is in neither span: it happens
once a home, before the first launch, and what it takes is printed.

Run: `python benchmarks/occupancy.py [N [PEER_N]]`: N trials of ours (default 18), PEER_N of plain
Tune (default 8). Exit code 1 if a promise is broken.
"""

import os
import sys

from rig.measure import Measured, conditions, measure, verdict
from rig.work import SLOTS, Work

PROMISE_BUSY = 0.85
PROMISE_COST = 0.03
EPOCHS = 5
EPOCH_SECONDS = 1.0
OPENING = ("open_sweep", "open_cell", "inventory")


def span(run: Measured) -> float:
    """Seconds from the first launch to the last end."""
    return max(run.ends) - run.first


def report_busy(ours: Measured, peer: Measured) -> tuple[str, bool]:
    """P4's table, and whether it is kept."""
    lines = [
        f"P4: slots busy with training, {SLOTS} slots, trials of {EPOCHS} epochs of "
        f"{EPOCH_SECONDS:g} s; {conditions()}",
        f"{'':32}{'trials':>8}{'span':>9}{'busy':>8}{'ratio':>8}  trials of each process",
    ]
    busy = ours.occupancy(SLOTS)
    for name, run in (("mcl_bench, tracking on", ours), ("plain Tune, Optuna and MLflow", peer)):
        share = run.occupancy(SLOTS)
        lines.append(
            f"{name:32}{len(run.ends):8}{span(run):7.1f} s{share:8.1%}{busy / share:7.2f}x"
            f"  {run.spread}"
        )
    whole = ours.busy / SLOTS / ours.wall
    lines.append(f"ours, the start and end of Ray and of the record counted too: {whole:.1%}")
    kept = busy >= PROMISE_BUSY
    lines.append(verdict(f"busy >= {PROMISE_BUSY:.0%}", f"{busy:.1%}", kept=kept))
    return "\n".join(lines), kept


def report_cost(tracked: Measured, untracked: Measured) -> tuple[str, bool]:
    """P6's table, and whether it is kept."""
    cost = span(tracked) / span(untracked) - 1
    opening = sum(tracked.tracker_seconds.get(name, 0.0) for name in OPENING)
    within = sum(tracked.tracker_seconds.values()) - opening
    cpu = sum(value for name, value in tracked.tracker_cpu_seconds.items() if name not in OPENING)
    cores = os.cpu_count() or 1
    kept = cost <= PROMISE_COST
    lines = [
        f"P6: the same sweep with and without tracking, {len(tracked.ends)} trials; {conditions()}",
        f"with MLflow {span(tracked):.2f} s, without {span(untracked):.2f} s: {cost:+.1%}",
        f"whole commands: {tracked.wall:.2f} s and {untracked.wall:.2f} s, of which the first "
        f"opening of a new store {opening:.2f} s",
        f"the tracker's calls took {within:.2f} s, {within / span(tracked):.1%} of the span; their "
        f"CPU is {cpu / cores / span(tracked):.1%} of the cores' time",
        verdict(f"wall time <= +{PROMISE_COST:.0%}", f"{cost:+.1%}", kept=kept),
    ]
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    counts = [int(argument) for argument in sys.argv[1:]]
    trials, plain = (*counts, *(18, 8)[len(counts) :])
    if min(trials, plain) < 1:
        raise SystemExit("N and PEER_N must be at least 1")
    work = Work(trials=trials, epochs=EPOCHS, seconds=EPOCH_SECONDS)
    peer_work = Work(trials=plain, epochs=EPOCHS, seconds=EPOCH_SECONDS)
    untracked = measure("rig.ours", work, tracking=False)
    tracked = measure("rig.ours", work, tracking=True)
    peer = measure("rig.plain_tune", peer_work, reuse=False, tracking=True)
    busy_text, busy_kept = report_busy(tracked, peer)
    cost_text, cost_kept = report_cost(tracked, untracked)
    sys.stdout.write(f"{busy_text}\n\n{cost_text}\n")
    return 0 if busy_kept and cost_kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
