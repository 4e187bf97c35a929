"""Command line of the embedder. Serves EMBEDDING_MODEL; with `--distill`, only makes the model and exits."""

from __future__ import annotations

import os

# Set before numpy is imported. A text costs microseconds, less than waking other threads; and on a busy machine they
# wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import sys

import uvloop
from loguru import logger as fastembeds_logger

from services.embedder.app import serve
from services.embedder.distillation import BATCH, Progress
from services.embedder.encoder import load_encoder
from shared import interpreter
from shared.command_names import as_typed
from shared.errors import SettingsError
from shared.logs import get_logger, set_up_logging
from shared.redaction import redact_text
from shared.settings import load_settings
from shared.standard_streams import protect

BAR_WIDTH = 40


def main() -> int:
    """Run; return the exit code: 0 after a clean stop, 1 when a background loop kept failing, 2 for wrong settings."""
    protect(redact_text)
    parser = argparse.ArgumentParser(prog=as_typed("python -m services.embedder"), description=__doc__)
    parser.add_argument("--distill", action="store_true", help="only make the model (for an image build)")
    only_distill = parser.parse_args().distill
    try:
        settings = load_settings()
        set_up_logging(settings, "embedder")
        fastembeds_logger.disable("fastembed")  # it bypasses our log handler; failures arrive as exceptions
        encoder = load_encoder(settings.EMBEDDING_MODEL, settings.MODEL_CACHE_DIR, show_progress())
        if only_distill:
            print(settings.MODEL_CACHE_DIR / encoder.model.id)
        else:
            interpreter.prepare()
            return uvloop.run(serve(settings, encoder))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def show_progress() -> Progress:
    """Return a callback that shows the progress of distillation: a bar on a terminal, else a log line per 25 %.

    The local stack sets PROGRESS_BAR: it relays the output of its processes to a terminal.
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
