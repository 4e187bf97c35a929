"""Reload of MODELS_FILE: when it changes, and on SIGHUP. A file that is not valid is refused; the last good one stays.

No request waits for it. Clients of upstreams that stay the same keep their connections.
"""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.models.catalogue import Catalogue
from services.gateway.models.catalogue_settings import named_models
from shared.errors import SettingsError
from shared.logs import get_logger
from shared.metrics import GatewayMetrics
from shared.models_file import ModelsFile
from shared.models_file.watch import ModelsFileWatch
from shared.settings import Settings
from shared.upstreams import Upstreams

_log = get_logger(__name__)


class ModelsReload:
    """Reads MODELS_FILE again. `refused`: why the file as it is now is not used, else None."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[Settings], ModelsFile],
        *,
        catalogue: Catalogue,
        upstreams: Upstreams,
        metrics: GatewayMetrics,
    ) -> None:
        """Take what to update; `read` returns the valid file, or raises SettingsError."""
        self._settings = settings
        self._watch = ModelsFileWatch(settings.MODELS_FILE, lambda: read(settings))
        self._catalogue = catalogue
        self._upstreams = upstreams
        self._metrics = metrics
        self.refused: str | None = None

    def request(self) -> None:
        """Read the file at the next look, changed or not."""
        self._watch.request()

    async def refresh(self) -> None:
        """Use the file if it has changed, or on request."""
        try:
            file = await self._watch.changed()
            if file is None:
                return
            news = file != self._catalogue.lists.file
            if news:
                self._upstreams.configure(file)
        except SettingsError as error:
            self.refused = str(error)
            self._metrics.models_file_refused.set(1)
            _log.error("MODELS_FILE is not valid: the last valid one stays in use", problems=self.refused)
            return
        self.refused = None
        self._metrics.models_file_refused.set(0)
        if news:
            models, default = named_models(self._settings, file)
            self._catalogue.configure(file, models=models, default=default)
            _log.info("MODELS_FILE read", upstreams=tuple(file.upstreams), arms=self._catalogue.arm_ids)
