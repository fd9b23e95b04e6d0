"""What is said to a model that critiques and revises an answer, and what is taken from its replies.

The conversation is quoted, not continued, and each request stands alone: told to go on after its own critique, a small
model goes on with the critique. Replies are read by words of English.
"""

from __future__ import annotations

import re

from favonius.data.checks import flaws
from favonius.data.words import words
from favonius.feedback.articles import Article
from favonius.types import Completion, Message, Messages

NOTHING = "Nothing to change."
CRITIQUE = (
    "{quoted}\n\n"
    "Review the assistant's last answer on one point alone. Look for {look_for}.\n\n"
    "If you find it, say in a few sentences what is wrong in the answer, and quote the words in question. If the "
    f"answer is fine on this point, reply with these words alone: {NOTHING}"
)
REVISION = (
    "{quoted}\n\n"
    "A reviewer said about the last answer: {critique}\n\n"
    "Write the answer that the assistant should have given in its place. {mend} Keep what was good in it. Write only "
    "the answer, as the assistant would say it to the person, and nothing about the review."
)
OPENING = 8
"""Words with which a revision begins as the critique does, and the answer does not: it is one more critique."""
SAID_BY = {"system": "The assistant was told", "user": "The person", "assistant": "The assistant"}

_CHANGE = (
    r"(?:chang(?:e|ed|ing)|mend(?:ed|ing)?|fix(?:ed|ing)?|improv(?:e|ed|ing)|correct(?:ed|ing)?|revis(?:e|ed|ing))"
)
_NOTHING = re.compile(
    r"(?:(?:so|overall|therefore|in short) )?(?:there (?:(?:is|s) )?|i (?:see|find|found) )?"
    rf"(?:nothing (?:here )?(?:to|needs to be|needs to|has to be|must be|should be|should|needs) {_CHANGE}"
    r"|no (?:changes?|revisions?|corrections?)(?: (?:is|are))? (?:needed|necessary|required)"
    r"|(?:the|this) (?:assistant s )?(?:last )?answer is fine)"
    r"(?: (?:here|on this point|in (?:the|this|my) answer|in this regard|at all))*"
)
"""A sentence as its words: see `finds_nothing`."""
_RESERVE = re.compile(r"\b(?:but|however|although|though|except|nevertheless|still|yet)\b")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’*)]*\s+|\n+")

_NEW = r"(?:revised|rewritten|mended|improved|updated|corrected|edited|new)"
_ANSWER = r"(?:answers?|responses?|repl(?:y|ies)|versions?|revisions?)"
_ANNOUNCEMENT = re.compile(
    rf"(?:(?:sure|certainly|of course|okay|ok|absolutely|understood|thank you|thanks)\b[^:\n]{{0,60}}?[,.!]?\s*)?"
    rf"(?:(?:here(?:'s| is| are)|this is|below is)\s+[^:\n]{{0,40}}?\b{_ANSWER}\b[^:\n]{{0,60}}"
    rf"|(?:(?:my|the|a)\s+)?(?:{_NEW}\s+){{1,2}}{_ANSWER}|(?:my\s+)?revision"
    rf"|(?:the\s+)?assistant(?:'s\s+(?:\w+\s+)?{_ANSWER}|\s+(?:should|could|would)\s+have\s+\w+(?:\s+instead)?)?)",
    re.IGNORECASE,
)
_DRESS = ' \t*_#"“'
_ABOUT = re.compile(
    rf"\bthe (?:critique|criticism|reviewer|assistant)\b|\byour (?:answer|response|reply)\b"
    rf"|\b(?:my|the|your) (?:earlier|previous|original|first|last|initial) (?:answer|response|reply)\b"
    rf"|\b(?:revised|rewritten|mended) {_ANSWER}\b"
    r"|\bthank(?:s| you) for (?:the|your|this) (?:feedback|critique|criticism|remarks?|correction)"
    r"|\bI(?:'ve| have)?(?: also)? (?:revised|rewritten|rewrote|mended|removed|reworded|rephrased) "
    r"(?:the|my|this|that|it|any)\b",
    re.IGNORECASE,
)
_TURN = re.compile(r"^(?:The person|The assistant|A reviewer)\b[^:\n]{0,40}:", re.MULTILINE)
"""How `_quoted` and REVISION open a turn."""


def critique_request(conversation: Messages, answer: str, article: Article) -> Messages:
    """Ask for a critique of `answer`, given to `conversation`."""
    looked_for = article.look_for.rstrip(".")
    return _request(CRITIQUE.format(quoted=_quoted(conversation, answer), look_for=looked_for))


def revision_request(conversation: Messages, answer: str, critique: str, article: Article) -> Messages:
    """Ask for a better answer in the light of a critique."""
    quoted = _quoted(conversation, answer)
    return _request(REVISION.format(quoted=quoted, critique=critique, mend=article.mend))


def _request(text: str) -> Messages:
    return (Message(role="user", content=text),)


def _quoted(conversation: Messages, answer: str) -> str:
    turns = (*conversation, Message(role="assistant", content=answer))
    return "\n\n".join(f"{SAID_BY[message.role]}: {message.content}" for message in turns)


def finds_nothing(critique: str) -> bool:
    """Whether a critique says that nothing is wrong: in a sentence of its own, first or last, and with no "but" after.

    Small models wrap the three words that they were given: "The answer is kind. Nothing needs to be changed here."
    """
    sentences = [" ".join(words(sentence)) for sentence in _SENTENCE_END.split(critique)]
    sentences = [sentence for sentence in sentences if sentence]
    for place in {0, len(sentences) - 1} if sentences else ():
        if _NOTHING.fullmatch(sentences[place]):
            return not any(_RESERVE.search(sentence) for sentence in sentences[place + 1 :])
    return False


def unannounced(text: str) -> str:
    """A revision without what announces it: "Here is the revised answer:", "**Revised answer**", the quotes around it.

    Only a first line, or its beginning up to a colon, that says nothing else is cut, and never the whole text.
    """
    line, _, below = text.strip().partition("\n")
    head, colon, beside = line.partition(":")
    if colon and _ANNOUNCEMENT.fullmatch(head.strip(_DRESS)):
        rest = f"{beside.removeprefix('**').strip()}\n{below}"
    elif _ANNOUNCEMENT.fullmatch(line.strip(_DRESS + ".")):
        rest = below
    else:
        return text.strip()
    return _unquoted(rest.strip()) or text.strip()


def _unquoted(text: str) -> str:
    for left, right in (('"', '"'), ("“", "”")):
        inner = text[1:-1]
        if len(text) > 2 and text[0] == left and text[-1] == right and left not in inner and right not in inner:
            return inner.strip()
    return text


def fault(revision: str, reply: Completion, answer: str, critique: str, conversation: Messages) -> str | None:
    """Why a revision is no better answer, where that can be seen; None where it can not.

    What talks about the critique counts only where the prompt has no such words: people ask for revisions, too.
    """
    if found := flaws(revision, reply.finish == "stop"):
        return f"revision {found[0]}"
    if _TURN.search(revision):
        return "revision goes on with the conversation"
    said = words(revision)
    if said == words(answer):
        return "revision equals the answer"
    if said == words(critique) or said[:OPENING] == words(critique)[:OPENING] != words(answer)[:OPENING]:
        return "revision repeats the critique"
    about = _ABOUT.search(revision)
    asked = " ".join(message.content for message in conversation)
    return "revision talks about the critique" if about is not None and not _ABOUT.search(asked) else None
