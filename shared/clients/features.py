"""Detection of the feature that a model lacks, from the words of a refusal.

Only words of a feature as a whole count. "Image input is not supported" does; "unsupported image format" or "unknown
name `oneOf` at tools[0]" are about this request's own picture or schema, and say nothing of the next request.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from shared.clients.upstream_words import Words

_FEATURES = tuple(
    (feature, re.compile(pattern, re.IGNORECASE))
    for feature, pattern in (
        ("output:image", r"output modalit\w*.{0,30}image|image (?:output|generation)|generat\w+ images?"),
        ("output:audio", r"output modalit\w*.{0,30}audio|audio output|generat\w+ (?:audio|speech)"),
        ("image", r"\bimages?\b|image_url|\bvision\b|multi-?modal|mmproj"),
        ("audio", r"\baudio\b|input_audio"),
        ("video", r"\bvideos?\b|video_url"),
        ("file", r"\bfiles?\b|\bpdfs?\b|\bdocuments?\b"),
        ("tool_choice", r"tool[_ ]choice"),
        ("tools", r"\btools?\b|\btool[_ -](?:use|call)|\bfunctions?\b|function[_ -]call"),
        ("structured_outputs", r"json[_ ]schema|structured[_ ]output"),
        ("response_format", r"response[_ ]format|json[_ ](?:mode|object|output)"),
        ("structured_outputs", r"response[_ ]format"),  # of its kind `json_schema`
        ("logprobs", r"log_?probs?"),
        ("reasoning", r"reasoning|\bthinking\b"),
    )
)
_OWN_DETAIL = re.compile(
    r"invalid schema|\bschema (?:for|is|must|has|at|keyword)\b|_schema does|in context=|\bproperties\b|declarations"
    r"|oneOf|anyOf|allOf|\$ref|(?:\w(?<!messages))\[\d+\]"
    r"|(?:image|audio|video|file|document|media|mime)[ _]"
    r"(?:format|type|size|data(?! required)|detail|dimension|content type|(?<= )url)"
    r"|(?:this|your|the) (?:image|picture|audio|video|file|document|pdf)s?\b|you uploaded|make sure|retry"
    r"|following (?:formats|types)|(?:format|type|size) of (?:the )?(?:image|audio|video|file)|mime|base64"
    r"|may not be \w+ (?:when|with)|at most (?!0\b)|too many|too large|maximum",
    re.IGNORECASE,
)
_UNKNOWN_FIELD = re.compile(
    r"extra (?:inputs|fields)|extra_forbidden|un(?:recogni[sz]ed|known (?!variant))|not (?:permitted|allowed)"
    r"|unexpected (?:keyword|field|property|argument|param)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"([\"`])[^\"`]*\s[^\"`]*\s[^\"`]*\1")
"""Phrases of three words and more in quotes are more likely the client's than the upstream's."""

_NAMED = re.compile(r"(?:argument|parameter|field|name|key|property|input)s?(?: supplied)?\W+([a-z_]+)", re.IGNORECASE)


def feature_of(words: Words, used: AbstractSet[str]) -> str | None:
    """Return the missing feature, of those that the request uses; None if none is named."""
    text = _QUOTED.sub(" ", words.text)
    if not used or _OWN_DETAIL.search(text):
        return None
    if _UNKNOWN_FIELD.search(words.all):  # a field is refused, and its name may be anywhere in the text
        named = {words.param or "", *_NAMED.findall(text)}
        return next((feature for feature, _ in _FEATURES if feature in used and _names(named, feature)), None)
    return next(
        (feature for feature, pattern in _FEATURES if feature in used and pattern.search(f"{text} {words.code}")), None
    )


def _names(fields: AbstractSet[str], feature: str) -> bool:
    """Return whether one of `fields` asks for the feature: `reasoning`, `reasoning_effort`."""
    return any(field == feature or field.startswith(f"{feature}_") for field in fields)
