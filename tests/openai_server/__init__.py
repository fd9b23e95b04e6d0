"""An OpenAI-compatible server that answers by a script: for tests of whatever talks to one.

    async with serving(Fates(share=0.3, stall_seconds=2)) as server:      # or, without asyncio: server_thread(...)
        …ask server.url with the key "test-key" for the model "test-model"…
        assert max(server.journal.answered.values()) == 1

`python -m tests.openai_server` runs one as a process. What it offers: chat and plain completions (streamed or not),
models, files and batches. What goes wrong and when is in `fates.py`; what it has seen, in `journal.py`.
"""

from tests.openai_server.fates import KINDS, LASTING, TRANSIENT, BatchFates, Fates, Kind, Limits
from tests.openai_server.journal import ANSWERED, LOST, OVER_LIMIT, REFUSED, Event, Journal
from tests.openai_server.server import Server, server_thread, serving

__all__ = [
    "ANSWERED", "KINDS", "LASTING", "LOST", "OVER_LIMIT", "REFUSED", "TRANSIENT", "BatchFates", "Event", "Fates",
    "Journal", "Kind", "Limits", "Server", "server_thread", "serving",
]  # fmt: skip
