"""`python -m services.gateway`: run until SIGTERM, or `--check-config`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from services.gateway.adapters import open_adapters
from services.gateway.app import build_app
from services.gateway.http.app_keys import CATALOGUE, MODELS_RELOAD, READINESS, SUPERVISOR
from services.gateway.http.server import serve
from services.gateway.process.settings_check import check_settings
from services.gateway.process.version import VERSION
from shared import interpreter
from shared.command_names import as_typed
from shared.errors import SettingsError
from shared.logs import get_logger, set_up_logging
from shared.models_file import ModelsFile
from shared.models_file.masked import masked_lines
from shared.redaction import redact_text
from shared.settings import Settings, access_warning, load_settings
from shared.standard_streams import protect
from shared.stop_signals import stop_event

_BAD_SETTINGS = 2


def main() -> int:
    """Return the exit code: 0 after a clean drain, 2 for settings that cannot work."""
    protect(redact_text)
    parser = argparse.ArgumentParser(
        prog=as_typed("python -m services.gateway"), description="The gateway of LLM Router."
    )
    parser.add_argument("--check-config", action="store_true", help="print the effective settings and leave")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        if arguments.check_config:
            print("\n".join(f"{name}={value}" for name, value in settings.masked().items()))
        file = check_settings(settings)
        if arguments.check_config and settings.MODELS_FILE is not None:
            print("\n".join(masked_lines(file)))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _BAD_SETTINGS
    warning = access_warning(settings)
    if arguments.check_config:
        if warning is not None:
            print(f"WARNING: {warning}", file=sys.stderr)
        return 0
    set_up_logging(settings, "gateway")
    interpreter.prepare()
    if warning is not None:
        get_logger(__name__).warning(warning)
    return uvloop.run(run(settings, file))


async def run(settings: Settings, file: ModelsFile) -> int:
    """Serve until SIGTERM or SIGINT, then drain: say so, wait for load balancers, finish what is open, leave."""
    log = get_logger(__name__)
    stop = stop_event()
    async with open_adapters(settings, file) as adapters:
        app = build_app(settings, adapters, file)
        supervisor = app[SUPERVISOR]
        supervisor.on_broken = stop.set
        if settings.MODELS_FILE is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app[MODELS_RELOAD].request)
        try:
            runner = await serve(app, settings)
        except OSError as error:
            log.error(  # noqa: TRY400 - the reason is the operator's; a traceback would hide it
                "cannot listen", host=settings.HOST, port=settings.PORT, reason=error.strerror
            )
            return 1
        log.info("serving", host=settings.HOST, port=settings.PORT, version=VERSION, arms=len(app[CATALOGUE].arm_ids))
        await stop.wait()
        app[READINESS].drain()
        log.info("draining", delay_s=settings.DRAIN_DELAY_S, timeout_s=settings.DRAIN_TIMEOUT_S)
        await asyncio.sleep(settings.DRAIN_DELAY_S)
        await runner.cleanup()
    log.info("stopped", because=supervisor.broken and f"background loop cannot be kept: {supervisor.broken}")
    return 0 if supervisor.broken is None else 1


if __name__ == "__main__":
    sys.exit(main())
