"""One server as a process: prints its URL, then serves until it is ended.

python -m tests.openai_server --fates '{"share": 0.3, "stall_seconds": 2}' --journal journal.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

from tests.openai_server import Fates, Journal, serving


async def serve(fates: Fates, journal: Journal, port: int) -> None:
    async with serving(fates, journal, port) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.openai_server", description=__doc__.split("\n")[0])
    parser.add_argument("--fates", default="{}", help="JSON, the fields of tests.openai_server.Fates")
    parser.add_argument("--journal", type=Path, help="JSONL to append every request to")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    arguments = parser.parse_args()
    fates = Fates.model_validate_json(arguments.fates)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(fates, Journal(arguments.journal), arguments.port))


if __name__ == "__main__":
    main()
