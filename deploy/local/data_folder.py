"""Data folder of a stack: one per upstream, so that simulated ratings never mix with real ones.

    FOLDER/data/simulated        Redis, Qdrant, PostgreSQL and spool of the simulated upstream
    FOLDER/data/openrouter.ai    the same of OpenRouter; any other upstream by its host and port
    FOLDER/data/models-file      the same of the upstreams of a MODELS_FILE, together

A file `upstream` in each folder names its upstream. Earlier versions kept the data in FOLDER itself: it is moved to the
folder of the upstream that produced it, the simulated one if there is a log of the simulator.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import SettingsError

SIMULATED = "simulated"
SEVERAL_UPSTREAMS = "models-file"
MARK = "upstream"
OLDER = ("redis", "qdrant", "postgres", "spool")


def upstream_name(base_url: str) -> str:
    """Return the folder name of an upstream: its host and port."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "unknown").lower()
    name = re.sub(r"[^a-z0-9.-]", "_", f"{host}_{parts.port}" if parts.port else host)
    return name.strip(".") or "_"


def open_data_folder(folder: Path, upstream: str, say: Callable[[str], None]) -> Path:
    """Return the data folder of `upstream`, created if missing; report through `say` what happens to other data.

    Raises SettingsError when the folder is marked with another upstream.
    """
    data = folder / "data" / upstream
    data.mkdir(parents=True, exist_ok=True)
    mark = data / MARK
    marked = mark.read_text(encoding="utf-8").strip() if mark.exists() else upstream
    if marked != upstream:
        raise SettingsError(f"{data} holds the data of {marked}, not of {upstream}: move it to {data.parent / marked}")
    mark.write_text(f"{upstream}\n", encoding="utf-8")
    _take_over(folder, data, upstream, say)
    others = sorted(other.name for other in data.parent.iterdir() if other.is_dir() and other != data)
    if others:
        say(f"using the data of {upstream}; that of {', '.join(others)} is kept separately")
    return data


def _take_over(folder: Path, data: Path, upstream: str, say: Callable[[str], None]) -> None:
    older = [name for name in OLDER if (folder / name).is_dir()]
    if not older:
        return
    simulated = any((folder / "logs").glob("simulator*.log"))
    what = f"the data of an earlier version in {folder} ({', '.join(older)})"
    why = "a simulated upstream has run on it" if simulated else "no simulated upstream has run on it"
    free = [name for name in older if not (data / name).exists()]
    if simulated is (upstream == SIMULATED) and free == older:
        for name in older:
            (folder / name).rename(data / name)
        say(f"{what} is taken over for {upstream}, because {why}: moved to {data}")
    else:
        say(f"{what} is not used by this start, because {why}; to use it, move it to {data}, to lose it, remove it")
