"""Start report on the models: what `free` resolved to, a replaced default model, missing models."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from shared.settings import Settings

TIMEOUT_S = 3.0


def model_lines(gateway_url: str, settings: Settings) -> list[str]:
    """Return lines on the models from the gateway's `/health`; none when it cannot be read."""
    keys = (*settings.ADMIN_API_KEYS, *settings.API_KEYS)
    headers = {"Authorization": f"Bearer {keys[0].get_secret_value()}"} if keys else {}
    connection = http.client.HTTPConnection(urlsplit(gateway_url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health", headers=headers)
        return report_on(json.loads(connection.getresponse().read()))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []
    finally:
        connection.close()


def report_on(health: dict[str, Any]) -> list[str]:
    """Return the lines for a reply of `/health`. Raises KeyError when it is incomplete."""
    arm_list, default = health["arm_list"], health["default_model"]
    arms, free = arm_list["arms"], set(arm_list["free"] or ())
    chosen = ", ".join(f"{arm} (free)" if arm in free and not arm.endswith(":free") else arm for arm in arms)
    lines = [f"Models: {chosen or 'none'}"]
    if arm_list["free"] == []:
        read = health["parts"]["upstream"]["status"] == "ok"
        why = "the upstream lists no free model" if read else "the upstream's list could not be read"
        instead = f"only {', '.join(arms)} can answer" if arms else "and no other model is named: chat gets 503"
        lines.append(f"LLM_MODELS=free: {why}, {instead}.")
    configured, used = default["configured"], default["used"]
    if default["replaced"]:
        price = [default[f"usd_per_million_{kind}_tokens"] for kind in ("prompt", "completion")]
        cost = "its price is unknown" if None in price else f"{price[0]:g} and {price[1]:g} USD per million tokens"
        lines.append(
            f"DEFAULT_MODEL {configured} is not listed: {used}, the newest of its family, replaces it ({cost})."
        )
    elif configured in health["unlisted"]:
        lines.append(f"DEFAULT_MODEL {configured} is not listed, nor is one of its family: name another one.")
    upstream = health["parts"]["upstream"]
    if upstream["status"] != "ok":
        lines.append(f"The upstream is {upstream['status']}: {upstream['detail'] or 'no reason is known'}")
    if arm_list["removed"]:
        lines.append(f"Dropped by DELETE /arms, and not used: {', '.join(arm_list['removed'])}")
    missing = [name for name in health["unlisted"] if name != configured]
    if missing:
        lines.append(f"Not in the upstream's list, and not used: {', '.join(missing)}")
    return lines
