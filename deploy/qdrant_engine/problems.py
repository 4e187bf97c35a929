"""What the caller is told when something is wrong, with Qdrant's status codes and wording."""

from __future__ import annotations


class ApiProblem(Exception):
    """Ends a request with `{"status": {"error": message}}` and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def malformed(message: str) -> ApiProblem:
    """400: the body is not what the route takes."""
    return ApiProblem(400, f"Format error in JSON body: {message}")


def wrong_input(message: str) -> ApiProblem:
    """400: well formed, but it contradicts the collection."""
    return ApiProblem(400, f"Wrong input: {message}")


def invalid(message: str) -> ApiProblem:
    """422: a figure out of range."""
    return ApiProblem(422, f"Validation error in JSON body: [{message}]")


def no_collection(name: str) -> ApiProblem:
    """404: no such collection."""
    return ApiProblem(404, f"Not found: Collection `{name}` doesn't exist!")


def collection_exists(name: str) -> ApiProblem:
    """409: the name is taken."""
    return ApiProblem(409, f"Wrong input: Collection `{name}` already exists!")


def unsupported(what: str) -> ApiProblem:
    """501: Qdrant can do it and this engine cannot. Refusing is better than a wrong result."""
    return ApiProblem(501, f"Not implemented by this local engine: {what}. Use a Qdrant server for it.")


def no_room() -> ApiProblem:
    """500: the disk is nearly full; Qdrant says it in such words, too."""
    return ApiProblem(500, "Service internal error: No space left on device: the disk is nearly full")


def of_engine(error: Exception) -> ApiProblem:
    """Translate what the engine raised; it has no error classes, only messages."""
    message = str(error)
    if message.startswith("No point with id"):
        return ApiProblem(404, f"Not found: {message}")
    if message.startswith("Vector dimension error") or isinstance(error, (TypeError, ValueError)):
        return wrong_input(message)
    return ApiProblem(500, f"Service internal error: {message}")
