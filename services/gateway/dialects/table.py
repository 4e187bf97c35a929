"""Table of dialects by path."""

from __future__ import annotations

from services.gateway.dialects.messages import MESSAGES
from services.gateway.dialects.responses import RESPONSES

DIALECTS = {"/messages": MESSAGES, "/messages/count_tokens": MESSAGES, "/responses": RESPONSES}
"""Paths without `/v1`."""
