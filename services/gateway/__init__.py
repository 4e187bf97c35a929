"""The OpenAI-compatible HTTP gateway: parse, embed, find neighbours, decide, call, record, answer."""
