"""Loop that follows changes of MODELS_FILE, for the calls of evaluations."""

from __future__ import annotations

import asyncio

from shared.errors import SettingsError
from shared.logs import get_logger
from shared.models_file.watch import EVERY_S, ModelsFileWatch
from shared.resilience.supervision import Pulse
from shared.upstreams import Upstreams

_log = get_logger(__name__)


class ModelsFileLoop:
    """Configures the upstreams again when the file has changed; one that is not valid changes nothing."""

    def __init__(self, watch: ModelsFileWatch, upstreams: Upstreams) -> None:
        self._watch = watch
        self._upstreams = upstreams

    async def run(self, pulse: Pulse) -> None:
        """Look for changes for ever."""
        while True:
            pulse.begin()
            try:
                file = await self._watch.changed()
                if file is not None:
                    self._upstreams.configure(file)
            except SettingsError as error:
                _log.warning("MODELS_FILE is not valid: the last valid one stays in use", problems=str(error))
            pulse.end()
            await asyncio.sleep(EVERY_S)
