"""One trial of Syne Tune's: a script that it starts for each, with the settings as arguments."""

import argparse
import os

from syne_tune import Reporter

from rig.work import SEARCHED, Work, train_epoch

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seconds", type=float)
    for name in SEARCHED:
        parser.add_argument(f"--{name.replace('.', '_')}", type=float)
    asked, _ = parser.parse_known_args()
    report = Reporter()
    work = Work(trials=1, epochs=asked.epochs, seconds=asked.seconds)
    for epoch in range(1, work.epochs + 1):
        metrics = train_epoch(work, epoch, asked.train_optimizer_lr)
        named = {name.replace("/", "_"): value for name, value in metrics.items()}
        report(epoch=epoch, pid=os.getpid(), **named)
