"""FastChat's own files of MT-Bench, from its repository: questions, judge prompts and GPT-4's reference answers.

The hub's copy (the space lmsys/mt-bench) has the questions and lacks the other two.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from favonius.errors import FavoniusError, brief
from favonius.files import cache_folder, replacing

NAME = "lm-sys/FastChat"
"""As results name where the questions come from."""
REVISION = "v0.2.36"
PLACE = f"https://raw.githubusercontent.com/{NAME}/{REVISION}/fastchat/llm_judge/data"
QUESTIONS, PROMPTS, REFERENCES = "question.jsonl", "judge_prompts.jsonl", "reference_answer/gpt-4.jsonl"
FILES = {
    QUESTIONS: (f"mt_bench/{QUESTIONS}", "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"),
    PROMPTS: (PROMPTS, "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"),
    REFERENCES: (f"mt_bench/{REFERENCES}", "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"),
}
"""Name in a folder of MT-Bench → path in the repository, sha256."""
SECONDS = 60
INSTEAD = "go online and run again, or name a folder with FastChat's files as `questions`"


def fetch(place: str = PLACE) -> Path:
    """The folder that holds the three files, fetched where they are not yet in the cache.

    FavoniusError where one cannot be fetched, or is not the file that it was.
    """
    folder = cache_folder() / "mt_bench" / REVISION
    for name, (path, sha256) in FILES.items():
        if not (folder / name).is_file():
            content = _read(f"{place}/{path}")
            if hashlib.sha256(content).hexdigest() != sha256:
                raise FavoniusError(f"{place}/{path}: the file is not the one that FastChat published; {INSTEAD}")
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
    return folder


def _read(address: str) -> bytes:
    try:
        with urlopen(address, timeout=SECONDS) as reply:
            return bytes(reply.read())
    except (URLError, OSError) as error:
        raise FavoniusError(f"{address} could not be fetched ({brief(error)}); {INSTEAD}") from error
