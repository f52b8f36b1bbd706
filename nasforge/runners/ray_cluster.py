"""Ray: imported when it is asked for, a cluster joined or started here, its long messages made short."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from typing import Any

from nasforge.errors import UserError

CONNECT_TIMEOUT_S = 5.0
SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to Ray's makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its notes on dead workers would go to stdout; they come as errors of jobs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as later versions do; without it, a warning
}
OBJECT_STORE_BYTES = 256 * 2**20  # of a cluster started here: only jobs, rows and weights pass through it


def import_ray(part: str = "") -> Any:
    """Return the Ray package, imported after its switches are set: it reads them only then. part: `tune`, which needs more."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    try:
        import ray

        if part == "tune":
            from ray import tune  # noqa: F401
    except ImportError as error:
        missing = f" ({error.name} is missing)" if part and error.name not in (None, "ray") else ""
        raise UserError(
            f"--{'runner tune' if part else 'ray'}: needs Ray{' Tune' * bool(part)}, which is not installed{missing}; "
            f"pip install 'nasforge[{part or 'ray'}]'"
        ) from None
    return ray


def connect(ray: Any, address: str, cpus: int) -> None:
    """Join the cluster, or start one: without a dashboard, its ports guarded by a token (Ray's default since 2.59)."""
    wanted: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    failure, hint = "joined there", "start one with `ray start --head`, or give no address to start one here"
    if address == "local":
        wanted |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        failure, hint = "started here", "is there memory and disk for one? its logs lie in the folder `ray` of the temporary folder"
    elif address != "auto":
        _check_reachable(address)
    told_to_end = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, **wanted)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"--ray {address}: no cluster can be {failure} ({reason(error)}); {hint}") from None
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray has its own answer, which writes nothing down
            signal.signal(signal.SIGTERM, told_to_end)


def _check_reachable(address: str) -> None:
    """Raises UserError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--ray {address}: must be HOST:PORT, ray://HOST:PORT, auto, or nothing for a cluster here")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: nobody answers there ({error}); is the cluster up, and the port open?") from None


def reason(error: Exception) -> str:
    """The telling line of Ray's long messages: why an actor is dead, the last line of a traceback, or the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    dead = [line for line in lines if line.startswith("The actor is dead because")]
    traced = len(lines) > 1 and "error raised in its creation task" in lines[0]
    return (dead or (lines[-1:] if traced else lines))[0][:300]
