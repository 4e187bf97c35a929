"""Port of all upstreams: a call goes to the upstream of its arm. The adapter is `shared.clients.http_upstreams`."""

from __future__ import annotations

from typing import Protocol

from shared.bandit.arms import ArmId
from shared.models_file import ModelsFile
from shared.ports import ChatModel


class Upstreams(ChatModel, Protocol):
    """Clients of all upstreams. As a `ChatModel` they are one upstream that has all models, under their ids as arms."""

    def named(self, upstream: str) -> ChatModel:
        """Return the client of one upstream, which knows models by the upstream's own names."""

    def upstream_of(self, arm: ArmId) -> str:
        """Return the name of the upstream that serves `arm`."""

    def configure(self, file: ModelsFile) -> None:
        """Use the upstreams of another file; calls in flight are finished.

        Raises SettingsError; nothing has changed then.
        """
