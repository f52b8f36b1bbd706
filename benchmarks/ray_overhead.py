"""What Ray adds to a trial: the same short trainings by local workers, by actors of a cluster started here, and through Ray Tune.

    python benchmarks/ray_overhead.py [--trials 40] [--workers 2] [--epochs 1] [--runners local,ray,tune]
    python benchmarks/ray_overhead.py --looked-up --trials 1000      trials that cost nothing: does a later one take longer?

Trainings are real (digits, one epoch). What starts workers is left out: the clock begins when so many jobs as there are workers, twice,
have ended. Runners are measured in turns, twice, so that other load on the machine meets all.
"""

from __future__ import annotations

import argparse
import statistics
import time

from nasforge.data import Source
from nasforge.evaluation.base import Context, Decision, Job, Report, Result
from nasforge.runners import RUNNERS
from nasforge.runners.ray_cluster import connect, import_ray

CONTEXT = Context(source=Source("digits"))


def job(number: int, epochs: int) -> Job:
    """One of many small networks."""
    body = [{"conv": {"out": 4 + number % 8, "stride": 2}}]
    return Job({"input": [1, 8, 8], "classes": 10, "body": body, "head": ["gap_head"]}, recipe={"epochs": epochs})


class Listed:
    """A driver with a list of jobs, which stops none. ends: when each ended; results: of each."""

    def __init__(self, jobs: list[Job]) -> None:
        self.left, self.results, self.ends = list(enumerate(jobs)), list[Result](), list[float]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.left.pop(0) if self.left else None

    def on_report(self, number: int, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_end(self, number: int, result: Result) -> None:
        assert result.error is None, result.error
        self.results.append(result)
        self.ends.append(time.perf_counter())


def carry(name: str, jobs: list[Job], workers: int, looked_up: bool) -> Listed:
    """What comes of jobs on a runner that is started for them."""
    make, takes = RUNNERS[name]
    options = {"workers": workers, "threads": 1, "address": "local", "gpus": 0.0}
    context = Context(evaluator="proxy", source=Source("digits")) if looked_up else CONTEXT
    runner, driver = make(context, **{option: value for option, value in options.items() if option in takes}), Listed(jobs)
    try:
        runner.run(driver)
    finally:
        runner.close()
    return driver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--runners", default="local,ray,tune")
    parser.add_argument("--looked-up", action="store_true", help="a hundredth of a second of scores instead of trainings")
    args = parser.parse_args()
    jobs, names, first = [job(i, args.epochs) for i in range(args.trials)], args.runners.split(","), 2 * args.workers
    if "ray" in names or "tune" in names:
        connect(import_ray("tune" if "tune" in names else ""), "local", args.workers)  # one for all, which they join
    added: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1 if args.looked_up else 2):
        for name in names:
            driver = carry(name, jobs, args.workers, args.looked_up)
            if args.looked_up:
                blocks = [driver.ends[i + 100] - driver.ends[i] for i in range(first, len(driver.ends) - 100, 100)]
                print(f"{name}: ms a trial, by blocks of a hundred: {' '.join(f'{10 * seconds:.1f}' for seconds in blocks)}", flush=True)
                continue
            wall, trained = driver.ends[-1] - driver.ends[first - 1], sum(r.seconds["training"] for r in driver.results[first:])
            added[name].append((wall * args.workers - trained) / (args.trials - first))
    for name, seconds in added.items():
        if seconds:
            rounds = ", ".join(f"{s:.3f}" for s in seconds)
            print(f"{name}: {statistics.mean(seconds):.3f} s a trial outside training (each round: {rounds})")


if __name__ == "__main__":
    main()
