"""Dialects of other APIs: Anthropic's Messages and OpenAI's Responses, translated to chat completions and back."""
