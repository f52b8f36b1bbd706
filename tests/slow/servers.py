"""A PostgreSQL server of a test's own: in a temporary folder, on a unix socket alone, started and stopped as often as a test likes."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path


def binaries() -> Path | None:
    """The folder of the server's programs, the newest version there is; None where there is none."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(path.split("/")[4]))
    other = shutil.which("initdb")
    return Path(found[-1]).parent if found else Path(other).parent if other else None


class Postgres:
    """A server with one database; `close` removes it. It refuses to run as root, so there it runs as `postgres` or `nobody`."""

    def __init__(self, folder: Path | None = None) -> None:
        programs = binaries()
        assert programs is not None, "ask `binaries` first"
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="nf-pg-", dir=folder))  # short: a socket's path has at most 107 bytes
        self.user = _other_user() if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "nasforge", "--no-sync", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", str(self.folder), "-U", "nasforge", "studies")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        """What `--storage` takes."""
        return f"postgresql://nasforge@/studies?host={self.folder}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c max_connections=120"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop it; `immediate` is as a crash: every connection breaks, and it recovers from its log at the next start."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", how, "stop")

    def close(self) -> None:
        subprocess.run(self._command("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop"), capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, program: str, *args: str) -> list[str]:
        command = [str(self.programs / program), *args]
        if self.user is None:
            return command
        entry = pwd.getpwnam(self.user)
        return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", *command]

    def _run(self, program: str, *args: str) -> None:
        with (self.folder.parent / f"{self.folder.name}.out").open("w+") as out:  # no pipe: the server would keep it open
            done = subprocess.run(self._command(program, *args), stdout=out, stderr=out, check=False, cwd="/")
            out.seek(0)
            said = out.read()
        Path(out.name).unlink()
        assert done.returncode == 0, f"{program}: {said[-500:]}"


def _other_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
