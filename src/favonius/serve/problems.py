"""What a client is told when a request cannot be answered, in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """`status` of HTTP; `kind` and `code` as OpenAI names them; `param` is the field of the body that is at fault."""

    def __init__(
        self, status: int, message: str, kind: str = "invalid_request_error", *, param: str | None = None,
        code: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code

    @property
    def headers(self) -> dict[str, str]:
        return {429: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}.get(self.status, {})

    def record(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def busy(at_once: int) -> ApiError:
    return ApiError(429, f"{at_once} requests are being answered; ask again later", "rate_limit_error", code="busy")


def too_slow(seconds: float) -> ApiError:
    return ApiError(504, f"the answer took longer than {seconds:g} seconds", "timeout_error", code="timeout")


def too_slow_to_send(seconds: float) -> ApiError:
    return ApiError(408, f"the body did not arrive within {seconds:g} seconds", "timeout_error", code="timeout")


def no_such_model(name: str, names: list[str]) -> ApiError:
    told = ", ".join(names)
    return ApiError(404, f"there is no model {name}; served are {told}", param="model", code="model_not_found")


def wrong_key() -> ApiError:
    return ApiError(401, "the API key is missing or wrong", "authentication_error", code="invalid_api_key")


def not_ours(name: str) -> ApiError:
    return ApiError(403, f"this server asks for no key, and answers to localhost and 127.0.0.1 but not to {name}")


def failed() -> ApiError:
    return ApiError(500, "the server failed; its own output says why", "server_error", code="server_error")
