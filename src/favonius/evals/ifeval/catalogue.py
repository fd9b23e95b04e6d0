"""The 25 instructions by the names that the data set gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from favonius.evals.ifeval.form import (
    Bullets, ConstrainedResponse, EndPhrase, Highlights, JSONFormat, Placeholders, Postscript, Quotation, RepeatPrompt,
    Sections, Title, TwoResponses,
)  # fmt: skip
from favonius.evals.ifeval.instruction import Instruction
from favonius.evals.ifeval.length import FirstWord, Paragraphs, Sentences, Words
from favonius.evals.ifeval.wording import (
    AllCapitals, AllSmall, CapitalWords, ForbiddenWords, KeywordFrequency, Keywords, LetterFrequency, NoComma,
    ResponseLanguage,
)  # fmt: skip
