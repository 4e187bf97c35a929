"""Route table: the application, the OpenAPI document and the tests read it."""

from __future__ import annotations

from aiohttp import web

from services.gateway.dialects.messages import MESSAGES
from services.gateway.dialects.responses import RESPONSES
from services.gateway.http.handlers import (
    arms,
    chat,
    dashboard,
    dead_letters,
    dialects,
    embeddings,
    feedback,
    health,
    metrics,
    models,
    openapi,
    records,
    request_list,
    settings,
    traffic,
)

PREFIX = "/v1"

API = (
    web.post("/chat/completions", chat.chat),
    web.post("/responses", dialects.answering(RESPONSES)),
    web.post("/messages", dialects.answering(MESSAGES)),
    web.post("/messages/count_tokens", dialects.counting(MESSAGES)),
    web.post("/embeddings", embeddings.embeddings),
    web.post("/route", chat.dry_run),
    web.post("/feedback", feedback.feedback),
    web.get("/models", models.models),
    web.get("/models/{model:.+}", models.model),
    web.get("/requests", request_list.request_list),
    web.get("/settings", settings.settings_in_effect),
    web.get("/stats", traffic.stats),
    web.get("/posteriors", traffic.posteriors),
    web.get("/spend", traffic.spend),
    web.get("/dead-letters", dead_letters.dead_letters),
    web.post("/dead-letters/requeue", dead_letters.requeue_all),
    web.get("/requests/{request_id}", records.request_record),
    web.get("/arms", arms.arms),
    web.put("/arms/{arm:.+}", arms.add),
    web.delete("/arms/{arm:.+}", arms.remove),
)
"""Routes with and without `/v1`: some SDKs require the prefix."""

OPERATIONS = (
    web.get("/metrics", metrics.metrics),
    web.get("/metrics/{request_id}", records.request_metrics),
    web.get("/feedback/{token}", feedback.show_form),
    web.post("/feedback/{token}", feedback.rate_by_link),
    web.get("/health", health.health),
    web.get("/ready", health.ready),
    web.get("/openapi.json", openapi.openapi),
    web.get("/docs", openapi.docs),
)

DASHBOARD = (
    web.get("/ui", dashboard.page),
    web.get("/ui/{file:.+}", dashboard.file),
)


def all_routes(*, with_dashboard: bool = True) -> tuple[web.RouteDef, ...]:
    """Return every route; those of the dashboard unless it is switched off."""
    return (
        *API,
        *(web.RouteDef(route.method, PREFIX + route.path, route.handler, route.kwargs) for route in API),
        *OPERATIONS,
        *(DASHBOARD if with_dashboard else ()),
    )
