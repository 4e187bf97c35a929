"""Errors for clients, with Qdrant's status codes and wording."""

from __future__ import annotations


class ApiProblem(Exception):
    """An error reply: a status and `{"status": {"error": message}}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def malformed(message: str) -> ApiProblem:
    """Return 400: the body has the wrong format."""
    return ApiProblem(400, f"Format error in JSON body: {message}")


def wrong_input(message: str) -> ApiProblem:
    """Return 400: well formed, but it does not fit the collection."""
    return ApiProblem(400, f"Wrong input: {message}")


def invalid(message: str) -> ApiProblem:
    """Return 422: a number out of range."""
    return ApiProblem(422, f"Validation error in JSON body: [{message}]")


def no_collection(name: str) -> ApiProblem:
    """Return 404: no such collection."""
    return ApiProblem(404, f"Not found: Collection `{name}` doesn't exist!")


def collection_exists(name: str) -> ApiProblem:
    """Return 409: the collection exists."""
    return ApiProblem(409, f"Wrong input: Collection `{name}` already exists!")


def unsupported(what: str) -> ApiProblem:
    """Return 501: Qdrant supports it and this engine does not."""
    return ApiProblem(501, f"Not implemented by this local engine: {what}. Use a Qdrant server for it.")


def no_room() -> ApiProblem:
    """Return 500: the disk is nearly full, in Qdrant's words."""
    return ApiProblem(500, "Service internal error: No space left on device: the disk is nearly full")


def of_engine(error: Exception) -> ApiProblem:
    """Translate an exception of the engine, which has no error classes, by its message."""
    message = str(error)
    if message.startswith("No point with id"):
        return ApiProblem(404, f"Not found: {message}")
    if message.startswith("Vector dimension error") or isinstance(error, (TypeError, ValueError)):
        return wrong_input(message)
    return ApiProblem(500, f"Service internal error: {message}")
