"""What a sweep's driver needs does not grow with its trials: memory, open files, time to decide.

A sweep of empty trials over 20 cells, searched with tpe and confirmed, tracking on. Its driver's
memory (resident, and its proportional share), its open files, the time to give out a trial and the
time to take in an end (medians since the last mark) are shown against the number of trials that
have ended. Twice: without Ray, where this process stands in for Tune and its workers, and the whole
line with Ray, whose Tuner is a new one every 1,000 trials. See `rig/soak.py`.

What is kept of every trial that has ended is its record, which a later trial of its effective key
and the table need: so memory may grow by a record's size, and not by more.

Run: `python benchmarks/soak_trials.py [N [RAY_N]]`: N trials without Ray (default 10000) and RAY_N
with it (default 2000, 0: none). Exit code 1 if something grows beyond its bound. On two cores a
trial takes about 0.1 s.
"""

import sys
from collections.abc import Sequence
from typing import Any

from rig.measure import conditions, run, verdict
from rig.soak import CELLS, SEEDS

LIMIT_SECONDS = 6 * 3600
SHARES = (0.1, 0.2, 0.5, 1.0)
"""Where to look, in shares of the trials."""

MEMORY_PER_TRIAL = 64 * 2**10
TUNER_MEMORY = 64 * 2**20
"""What Tune keeps of a Tuner's 1,000 trials until the next one."""
FILES = 8
SLOWER = 2.0


def report(name: str, seen: Sequence[dict[str, float]], *, ray: bool) -> tuple[str, bool]:
    """The table of one run, and whether everything stayed within its bounds."""
    lines = [
        f"{name}; {CELLS} cells; {conditions()}",
        f"{'trials':>8}{'RSS':>10}{'PSS':>10}{'files':>7}{'give out':>12}{'p95':>10}"
        f"{'take in':>12}{'p95':>10}",
    ]
    lines += [
        f"{mark['trials']:8.0f}{mark['rss'] / 2**20:6.0f} MiB{mark['pss'] / 2**20:6.0f} MiB"
        f"{mark['files']:7.0f}{1e3 * mark['next']:9.1f} ms{1e3 * mark['next_p95']:7.1f} ms"
        f"{1e3 * mark['result']:9.1f} ms{1e3 * mark['result_p95']:7.1f} ms"
        for mark in seen
    ]
    first, last = seen[0], seen[-1]
    more = last["pss"] - first["pss"] - (TUNER_MEMORY if ray else 0)
    grown = max(0.0, more) / (last["trials"] - first["trials"])
    files = last["files"] - first["files"]
    slower = (last["next"] + last["result"]) / (first["next"] + first["result"])
    kept = grown <= MEMORY_PER_TRIAL and files <= FILES and slower <= SLOWER
    beside = f" beside {TUNER_MEMORY / 2**20:g} MiB of a Tuner" if ray else ""
    promise = (
        f"<= {MEMORY_PER_TRIAL / 2**10:g} KiB a trial{beside}, <= {FILES} more files, "
        f"<= {SLOWER:g}x the time of a decision"
    )
    found = f"{grown / 2**10:.1f} KiB a trial, {files:+.0f} files, {slower:.2f}x"
    lines.append(verdict(promise, found, kept=kept))
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether everything is bounded."""
    counts = [int(argument) for argument in sys.argv[1:]]
    whole, with_ray = (*counts, *(10_000, 2_000)[len(counts) :])
    least = 2 * CELLS * (SEEDS + 1)
    if whole < least or 0 < with_ray < least:
        raise SystemExit(f"N and RAY_N must be at least {least}")
    bounded = True
    for name, trials, ray in (
        ("without Ray", whole, False),
        ("the whole line, with Ray", with_ray, True),
    ):
        if trials == 0:
            continue
        asked: dict[str, Any] = {
            "trials": trials,
            "marks": [round(share * trials) for share in SHARES],
            "ray": ray,
        }
        text, kept = report(name, run("rig.soak", asked, limit=LIMIT_SECONDS), ray=ray)
        sys.stdout.write(f"{text}\n\n")
        sys.stdout.flush()
        bounded = bounded and kept
    return 0 if bounded else 1


if __name__ == "__main__":
    raise SystemExit(main())
