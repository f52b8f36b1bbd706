"""Several drivers on one PostgreSQL database, with no Ray: all trials once, dead drivers noticed, the server's crash outlived."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from drivers import TRIALS, Driver, assert_whole, finished, records, until
from servers import Postgres, binaries

from nasforge.storage.database import ENOUGH, Database
from nasforge.storage.drivers import BEAT_S, SILENT_S

pytest.importorskip("psycopg")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server programs here"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    made = Postgres()
    yield made
    with warnings.catch_warnings():  # SQLAlchemy leaves its open connections to the collector
        warnings.simplefilter("ignore")
        gc.collect()
    made.close()


@pytest.fixture
def url(server: Postgres) -> str:
    return server.url


def where(folder: Path) -> str:
    """A name for a run folder that no other test's study has."""
    return folder.name.replace("_", "")[-24:]


def test_two_drivers_share_a_study_and_one_of_them_ends_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = where(tmp_path)
    # both at once: on a busy machine a later one may find all trials done
    first, second = (Driver(tmp_path / folder, "--storage", url, name=name, workers=1) for folder in "ab")
    summaries = [first.summary(), second.summary()]
    owner, joined = sorted(summaries, key=lambda s: "joined" in s)
    assert owner["best"]["test_mean"] > 0.1 and joined["joined"] == f"{name}-search"
    assert joined["finished"] == TRIALS
    assert_whole(first.run, {}, url)
    drivers = {t.user_attrs["driver"] for t in optuna.load_study(study_name=f"{name}-search", storage=url).trials}
    assert len(drivers) == 2, "both worked"


@pytest.mark.thorough
def test_the_trials_of_a_driver_that_died_are_taken_over_within_a_minute(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = where(tmp_path)
    owner = Driver(tmp_path / "a", "--storage", url, name=name, workers=1)
    until(lambda: finished(owner.run, url), owner)
    other = Driver(tmp_path / "b", "--storage", url, "--epochs", "10", name=name, workers=2)
    until(lambda: _running_at(url, name) >= 2, other)
    other.signal(signal.SIGKILL)
    died, before = time.monotonic(), finished(owner.run, url)
    left = _open_trials(url, name) - _open_trials(url, name, of=_driver_of(owner))
    summary = owner.summary()
    assert summary["finished"] == TRIALS
    assert_whole(owner.run, before, url)
    if left:
        assert time.monotonic() - died < SILENT_S + 2 * BEAT_S + 60
    assert not _open_trials(url, name)


def _study(url: str, name: str) -> optuna.Study:
    return optuna.load_study(study_name=f"{name}-search", storage=url)


def _running_at(url: str, name: str) -> int:
    return len({t.user_attrs.get("driver") for t in _study(url, name).trials})


def _open_trials(url: str, name: str, of: str | None = None) -> set[int]:
    running = [t for t in _study(url, name).trials if t.state == optuna.trial.TrialState.RUNNING]
    return {t.number for t in running if of is None or t.user_attrs.get("driver") == of}


def _driver_of(driver: Driver) -> str:
    import json

    return json.loads((driver.run / "manifest.json").read_text(encoding="utf-8"))["id"]


def test_a_driver_that_is_killed_and_begun_again_takes_up_its_own_trials_at_once(url: str, tmp_path: Path) -> None:
    name = where(tmp_path)
    first = Driver(tmp_path, "--storage", url, name=name)
    before = until(lambda: finished(first.run, url), first)
    first.signal(signal.SIGKILL)
    before = finished(first.run, url)
    again = Driver(tmp_path, "--storage", url, name=name)
    assert again.summary()["finished"] == TRIALS
    assert_whole(first.run, before, url)


def test_a_search_outlives_a_crash_of_the_database(server: Postgres, tmp_path: Path) -> None:
    name = where(tmp_path)
    driver = Driver(tmp_path, "--storage", server.url, name=name)
    before = until(lambda: finished(driver.run, server.url), driver)
    server.stop()
    time.sleep(8)
    assert driver.process.poll() is None
    server.start()
    assert driver.summary()["finished"] == TRIALS
    assert_whole(driver.run, before, server.url)
    assert "the database does not answer" in driver.said() and "answers again" in driver.said()


@pytest.mark.thorough
def test_another_plan_under_the_same_name_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = where(tmp_path)
    first = Driver(tmp_path / "a", "--storage", url, name=name)
    until(lambda: finished(first.run, url), first)
    other = Driver(tmp_path / "b", "--storage", url, "--seed", "7", name=name)
    assert other.wait() == 2 and "seed there is 0, here 7" in other.said()
    assert first.summary()["finished"] == TRIALS


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "--storage", f"postgresql://nobody@/none?host={tmp_path}")
    assert driver.wait() == 2
    assert "--storage: cannot be opened" in driver.said() and "check the URL and the server" in driver.said()


CLAIMS = """
import sys, optuna
from nasforge.storage.database import Database
optuna.logging.set_verbosity(optuna.logging.ERROR)
url, me, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
storage = Database(url, me)
study = optuna.load_study(study_name="claims", storage=storage)
won = []
for i in range(40):
    trial = study.ask()
    trial.suggest_int("x", 0, 99)
    answer = storage.claim(trial._trial_id, f"key{i}", most)
    if answer is None:
        won.append(i)
        study.tell(trial, [1.0])
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
print(*won)
"""


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_claims_are_exact_under_contention(kind: str, url: str, tmp_path: Path) -> None:
    url = url if kind == "postgresql" else f"sqlite:///{tmp_path / 'studies.db'}"
    engine: Any = {} if kind == "postgresql" else {"connect_args": {"timeout": 60}}
    study = optuna.create_study(storage=Database(url, **engine), study_name="claims")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", CLAIMS, url]
    running = [subprocess.Popen([*command, f"d{i}", "30"], stdout=subprocess.PIPE, text=True, env=environment) for i in range(3)]
    won = [key for process in running for key in (process.communicate(timeout=120)[0] or "").split()]
    assert len(won) == len(set(won)) == 30, "each function once, and no more than were asked"
    trials = study.trials
    assert sorted(t.number for t in trials) == list(range(120)), "numbers without gaps"
    plain = optuna.load_study(study_name="claims", storage=url).trials  # as Optuna itself reads the tables
    assert [(t.state, t.params, t.user_attrs, t.values) for t in plain] == [(t.state, t.params, t.user_attrs, t.values) for t in trials]


def test_a_trial_that_was_taken_over_cannot_be_ended_by_who_was_slow(url: str) -> None:
    slow, other = Database(url, "slow"), Database(url, "other")
    study = optuna.create_study(storage=slow, study_name="slow")
    trial = study.ask()
    assert slow.claim(trial._trial_id, "k", 1) is None
    assert [t.number for t in other.silent(study._study_id, -1)] == [0] and not slow.silent(study._study_id, -1)
    assert not other.silent(study._study_id, 60)
    mine = optuna.load_study(storage=other, study_name="slow").ask()
    assert other.claim(mine._trial_id, "k", 9) == 0 and other.claim(mine._trial_id, "l", 1) == ENOUGH
    other.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError, match="taken from this driver"):
        study.tell(trial, [1.0])
    assert [t.state.name for t in study.trials] == ["FAIL", "RUNNING"]
    assert other.claim(mine._trial_id, "k", 9) is None, "what was left is free again"


def test_records_of_other_tests_do_not_mix(url: str, tmp_path: Path) -> None:
    assert finished(tmp_path / "nothing", url) == {}
    with pytest.raises(KeyError):
        records(tmp_path / "nothing", url)
