"""The 25 instructions by the names that the data set gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from favonius.evals.ifeval.form import (
    Bullets,
    ConstrainedResponse,
    EndPhrase,
    Highlights,
    JSONFormat,
    Placeholders,
    Postscript,
    Quotation,
    RepeatPrompt,
    Sections,
    Title,
    TwoResponses,
)  # fmt: skip
from favonius.evals.ifeval.instruction import Instruction
from favonius.evals.ifeval.length import FirstWord, Paragraphs, Sentences, Words
from favonius.evals.ifeval.wording import (
    AllCapitals,
    AllSmall,
    CapitalWords,
    ForbiddenWords,
    KeywordFrequency,
    Keywords,
    LetterFrequency,
    NoComma,
    ResponseLanguage,
)  # fmt: skip

AnyInstruction = Annotated[
    Keywords | KeywordFrequency | ForbiddenWords | LetterFrequency | CapitalWords | AllCapitals | AllSmall | NoComma
    | ResponseLanguage | Words | Sentences | Paragraphs | FirstWord | Placeholders | Postscript | Bullets
    | ConstrainedResponse | Highlights | Sections | JSONFormat | Title | TwoResponses | RepeatPrompt | EndPhrase
    | Quotation,
    Field(discriminator="id"),
]  # fmt: skip

UNKNOWN = "an instruction that is not one of the 25"
BAD_PARAMETERS = "an instruction's parameters do not fit"

_ANY: TypeAdapter[Instruction] = TypeAdapter(AnyInstruction)


class UnfitInstructionError(Exception):
    """An instruction that cannot be checked. `cause` is UNKNOWN or BAD_PARAMETERS, `detail` says what is wrong."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


def instruction_of(name: str, parameters: Mapping[str, Any]) -> Instruction:
    """The instruction `name` with the data set's kwargs; null ones are left out, as some editions of it fill every row
    with the names of all. UnfitInstructionError."""
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        return _ANY.validate_python({**given, "id": name})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "union_tag_invalid":
            raise UnfitInstructionError(UNKNOWN, name) from None
        where = ".".join(str(part) for part in first["loc"][1:])
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise UnfitInstructionError(BAD_PARAMETERS, f"{name}: {what}") from None
