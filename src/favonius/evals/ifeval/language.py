"""Which language an answer is in, by the detector that IFEval is defined with.

fastText's model, which the filter `language` asks, judges 8 of GPT-4's 95 answers to instructions about language or
case otherwise. It is right in five of them and langdetect in two, but scores would not compare with published ones.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def language_of(text: str) -> str | None:
    """ISO 639-1 code (with a region for Chinese: zh-cn) by langdetect, drawn with seed 0; None where nothing in the
    text, such as letters, tells a language."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


@cache
def _detectors() -> Any:
    """A factory of our own: langdetect's is shared by the whole process, and its draws have no seed."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.set_seed(0)
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
