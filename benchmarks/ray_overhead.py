"""What Ray adds to a trial: the same short trainings by local workers and by actors of a cluster started here.

    python benchmarks/ray_overhead.py [--trials 40] [--workers 2] [--epochs 1]

Trainings are real (digits, one epoch). The start of the workers is left out: two jobs each are done before the clock begins. Local and
Ray are measured in turns, twice, so that other load on the machine meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time

from nasforge.data import Source
from nasforge.evaluation.base import Context, Decision, Job, Report, Result
from nasforge.runners import Runner
from nasforge.runners.local import LocalRunner
from nasforge.runners.ray_actors import RayRunner

CONTEXT = Context(source=Source("digits"))


def job(number: int, epochs: int) -> Job:
    """One of many small networks."""
    body = [{"conv": {"out": 4 + number % 8, "stride": 2}}]
    return Job({"input": [1, 8, 8], "classes": 10, "body": body, "head": ["gap_head"]}, recipe={"epochs": epochs})


class Listed:
    """A driver with a list of jobs, which stops none."""

    def __init__(self, jobs: list[Job]) -> None:
        self.left, self.results = list(enumerate(jobs)), list[Result]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.left.pop(0) if self.left else None

    def on_report(self, number: int, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_end(self, number: int, result: Result) -> None:
        self.results.append(result)


def carry(runner: Runner, jobs: list[Job]) -> tuple[float, float]:
    """Wall seconds of jobs on a runner, and the seconds that they trained."""
    driver = Listed(jobs)
    began = time.perf_counter()
    runner.run(driver)
    results = driver.results
    assert len(results) == len(jobs) and not any(r.error for r in results), [r.error for r in results if r.error][:1]
    return time.perf_counter() - began, sum(r.seconds["training"] for r in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    jobs = [job(i, args.epochs) for i in range(args.trials)]
    runners: dict[str, Runner] = {"local": LocalRunner(CONTEXT, args.workers, 1), "ray": RayRunner(CONTEXT, "local", args.workers, 1)}
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
