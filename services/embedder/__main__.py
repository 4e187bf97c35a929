"""`python -m services.embedder` serves; `--distill` makes the model that EMBEDDING_MODEL names, and exits."""

from __future__ import annotations

import os

# Before numpy is imported. A text costs microseconds: waking other threads costs more than they bring, and on a busy
# machine they wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import sys

import uvloop
from loguru import logger as fastembeds_logger

from services.embedder.app import serve
from services.embedder.distill import BATCH, Progress
from services.embedder.encoder import load_encoder
from shared import interpreter
from shared.errors import SettingsError
from shared.logs import get_logger, set_up_logging
from shared.redaction import redact_text
from shared.settings import load_settings
from shared.standard_streams import protect

BAR_WIDTH = 40


def main() -> int:
    """Run; return the exit code: 0 after a clean stop, 2 where the start is refused."""
    protect(redact_text)
    parser = argparse.ArgumentParser(prog="python -m services.embedder", description=__doc__)
    parser.add_argument("--distill", action="store_true", help="only make the model, for an image build")
    only_distill = parser.parse_args().distill
    try:
        settings = load_settings()
        set_up_logging(settings, "embedder")
        fastembeds_logger.disable("fastembed")  # it would write past our handler; what matters comes as an error
        encoder = load_encoder(settings.EMBEDDING_MODEL, settings.MODEL_CACHE_DIR, progress_shown())
        if only_distill:
            print(settings.MODEL_CACHE_DIR / encoder.model.id)
        else:
            interpreter.prepare()
            return uvloop.run(serve(settings, encoder))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def progress_shown() -> Progress:
    """Return a callback that shows how far distilling is: a bar on a terminal, else a log line every quarter.

    The local stack shows its parts on a terminal that they do not have themselves, and sets PROGRESS_BAR.
    """
    return _draw_bar if sys.stderr.isatty() or "PROGRESS_BAR" in os.environ else _log_quarters


def _draw_bar(done: int, total: int) -> None:
    filled = BAR_WIDTH * done // total
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    end = "\n" if done == total else ""
    print(
        f"\rDistilling the embedding model, once [{bar}] {100 * done // total:3} %",
        end=end,
        file=sys.stderr,
        flush=True,
    )


def _log_quarters(done: int, total: int) -> None:
    quarter = 4 * done // total
    if quarter > 4 * (done - BATCH) // total:
        get_logger(__name__).info("distilling the embedding model, once", percent=25 * quarter)


if __name__ == "__main__":
    sys.exit(main())
