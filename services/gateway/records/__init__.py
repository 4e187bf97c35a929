"""Records of requests on their way to Redis, and on disk while Redis is away; stored prompts."""
