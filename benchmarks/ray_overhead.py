"""What Ray adds to a trial: the same short trainings by local workers and by actors of a cluster started here.

    python benchmarks/ray_overhead.py [--trials 40] [--workers 2] [--epochs 1]

Trainings are real (digits, one epoch). The start of the workers is left out: two jobs each are done before the clock begins. Local and
Ray are measured in turns, twice, so that other load on the machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from nasforge.evaluation.base import DataSpec, Job, Result
from nasforge.runners.local import LocalRunner
from nasforge.runners.ray_actors import RayRunner

DATA = DataSpec("digits")


def job(number: int, epochs: int) -> Job:
    """One of many small networks."""
    body = [{"conv": {"out": 4 + number % 8, "stride": 2}}]
    return Job({"input": [1, 8, 8], "classes": 10, "body": body, "head": ["gap_head"]}, DATA, recipe={"epochs": epochs})


def carry(runner: Any, jobs: list[Job]) -> tuple[float, float]:
    """Wall seconds of jobs on a runner, and the seconds that they trained."""
    left, results = list(enumerate(jobs)), list[Result]()
    began = time.perf_counter()
    runner.run(lambda: left.pop(0) if left else None, lambda number, row: False, lambda number, result: results.append(result))
    assert len(results) == len(jobs) and not any(r.error for r in results), [r.error for r in results if r.error][:1]
    return time.perf_counter() - began, sum(r.seconds["training"] for r in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    jobs = [job(i, args.epochs) for i in range(args.trials)]
    runners = {"local": LocalRunner(args.workers, 1), "ray": RayRunner("local", args.workers, 1, data=DATA)}
    added: dict[str, list[float]] = {name: [] for name in runners}
    for runner in runners.values():
        carry(runner, jobs[: 2 * args.workers])
    for _ in range(2):
        for name, runner in runners.items():
            wall, trained = carry(runner, jobs)
            added[name].append((wall * args.workers - trained) / args.trials)
    for runner in runners.values():
        runner.close()
    for name, seconds in added.items():
        print(f"{name}: {statistics.mean(seconds):.3f} s a trial outside training (each round: {', '.join(f'{s:.3f}' for s in seconds)})")
    print(f"ray adds {statistics.mean(added['ray']) - statistics.mean(added['local']):.3f} s a trial to what local workers need")


if __name__ == "__main__":
    main()
