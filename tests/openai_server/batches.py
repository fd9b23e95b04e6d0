"""The Batch API's files and batches, which live as long as their server."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.openai_server.fates import BatchFates

ENDPOINTS = ("/v1/chat/completions", "/v1/completions")
OVER = ("completed", "failed", "expired", "cancelled")
Line = dict[str, Any]
Serve = Callable[[str, Line], tuple[int, Line]]
"""From a path and a body to status and answer, as if it had been asked on its own."""


@dataclass
class Batch:
    number: int
    endpoint: str
    input_file_id: str
    metadata: dict[str, str]
    lines: list[Line]
    status: str = "validating"
    polls: int = 0
    since: float = field(default_factory=time.time)
    """When it came into its state."""
    times: dict[str, int] = field(default_factory=lambda: {"created_at": int(time.time())})
    errors: list[Line] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    completed: int = 0
    failed: int = 0

    @property
    def id(self) -> str:
        return f"batch_{self.number:04d}"

    def enter(self, status: str) -> None:
        self.status, self.polls, self.since = status, 0, time.time()
        self.times[f"{status}_at"] = int(self.since)

    def shown(self) -> Line:
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            **{f"{name}_at": self.times.get(f"{name}_at") for name in names},
            "created_at": self.times["created_at"],
            "expires_at": self.times["created_at"] + 86_400,
            "request_counts": {"total": len(self.lines), "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }


class Batches:
    """`files` holds every file's bytes by id, uploads and results alike."""

    def __init__(self, fates: BatchFates, models: tuple[str, ...], serve: Serve) -> None:
        self.fates, self.models, self._serve = fates, models, serve
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}

    def keep(self, content: bytes) -> str:
        name = f"file-{len(self.files):04d}"
        self.files[name] = content
        return name

    def create(self, endpoint: str, input_file_id: str, metadata: dict[str, str]) -> Batch:
        """KeyError where there is no such file."""
        content = self.files[input_file_id]
        batch = Batch(len(self.batches), endpoint, input_file_id, metadata, [])
        try:
            batch.lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        except ValueError:
            batch.errors = [_error("invalid_json_line", "A line of the file is not valid JSON.")]
        self.batches[batch.id] = batch
        return batch

    def poll(self, batch: Batch) -> None:
        """Somebody looks at the batch: that, and time, move it on."""
        batch.polls += 1
        age = time.time() - batch.since
        if batch.status in OVER or batch.polls <= self.fates.polls_per_state or age < self.fates.seconds_per_state:
            return
        match batch.status:
            case "validating":
                batch.errors = batch.errors or self._problems(batch)
                batch.enter("failed" if batch.errors else "in_progress")
            case "in_progress" if batch.number in self.fates.expired:
                self._finish(batch, "expired", "batch_expired")
            case "in_progress":
                batch.enter("finalizing")
            case "finalizing":
                self._finish(batch, "completed", None)
            case "cancelling":
                self._finish(batch, "cancelled", "batch_cancelled")

    def cancel(self, batch: Batch) -> None:
        if batch.status not in OVER:
            batch.enter("cancelling")

    def page(self, after: str | None, limit: int) -> Line:
        """Newest first."""
        listed = sorted(self.batches.values(), key=lambda batch: -batch.number)
        if after is not None:
            listed = [batch for batch in listed if batch.number < self.batches[after].number]
        data = [batch.shown() for batch in listed[:limit]]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(listed) > limit,
        }

    def _problems(self, batch: Batch) -> list[Line]:
        """What validation finds in the file."""
        if batch.number in self.fates.invalid:
            return [_error("token_limit_exceeded", "Enqueued token limit reached.")]
        if not 0 < len(batch.lines) <= self.fates.most_requests:
            return [_error("invalid_file", f"The file must hold 1 to {self.fates.most_requests} requests.")]
        names = Counter(str(line.get("custom_id")) for line in batch.lines)
        found = []
        for number, line in enumerate(batch.lines, 1):
            body = line.get("body")
            if not isinstance(line.get("custom_id"), str) or names[line["custom_id"]] > 1:
                found.append(_error("duplicate_custom_id", "custom_id must be a string used once.", number))
            elif line.get("method") != "POST" or line.get("url") != batch.endpoint:
                found.append(_error("mismatched_endpoint", f"method and url must be POST {batch.endpoint}.", number))
            elif not isinstance(body, dict) or body.get("model") not in self.models or body.get("stream"):
                found.append(_error("invalid_request", "body must name a model of ours and not stream.", number))
        return found

    def _finish(self, batch: Batch, status: str, unanswered: str | None) -> None:
        """Answer all requests, or where there is a code for the `unanswered` some, and write both files."""
        draw = random.Random(batch.number)
        output: list[Line] = []
        errors: list[Line] = []
        for number, line in enumerate(draw.sample(batch.lines, len(batch.lines))):
            head = {"id": f"batch_req_{batch.number:04d}_{number:06d}", "custom_id": line["custom_id"]}
            if unanswered is not None and draw.random() >= self.fates.served_share:
                said = _error(unanswered, "This request could not be executed in time.")
                errors.append({**head, "response": None, "error": {"code": said["code"], "message": said["message"]}})
                continue
            code, body = self._serve(batch.endpoint, line["body"])
            response = {"status_code": code, "request_id": head["id"], "body": body}
            (output if code == 200 else errors).append({**head, "response": response, "error": None})
        batch.completed, batch.failed = len(output), len(errors)
        batch.output_file_id = self.keep(_jsonl(output)) if output else None
        batch.error_file_id = self.keep(_jsonl(errors)) if errors else None
        batch.enter(status)


def _jsonl(lines: list[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _error(code: str, message: str, line: int | None = None) -> Line:
    return {"code": code, "message": message, "line": line, "param": None}
