"""Thoughts in the text of an answer: found, and taken out (V7).

Many servers leave what a model thought aloud in the text. These spellings are known:

=======================================================  ==========================================================
``<think>…</think>``, ``<thinking>``, ``<thought>``,     at the start or anywhere, several times, with attributes
``<reasoning>`` and their kin
``…</think>`` without an opening tag                     all before it is thought: the prompt's template opened it
``<think>…`` without a closing tag                       the text ends before the thought does
``[THINK]…[/THINK]``, ``◁think▷…◁/think▷``               as of Mistral and Kimi
``<|START_THINKING|>…<|END_THINKING|>``, ``<|think|>…``  as of Command; marks around the answer behind go, too
``<|channel|>analysis<|message|>…``                      the answer is the last message in the channel ``final``
``analysis…assistantfinal…``                             the same when a server lost the marks
=======================================================  ==========================================================

A tag that is only spoken of is left alone: in a fenced block, in ``code``, in quotes, or between the words of a
sentence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rowmill.generators.prompting.fence import OPENING, block_at

_NAMES = (
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "antthinking",
    "thought_process",
    "thinking_process",
    "chain_of_thought",
    "inner_monologue",
    "internal_monologue",
    "seed:think",
    "longcat_think",
)
TAG = (
    rf"<(?P<slash>/?)\s*(?P<name>{'|'.join(map(re.escape, _NAMES))})(?:\s[^<>/]{{0,200}})?>"
    r"|\[(?P<slash_2>/?)(?P<name_2>THINK)\]"
    r"|◁(?P<slash_3>/?)(?P<name_3>think)▷"
    r"|<\|(?P<slash_4>/?)(?P<name_5>think|thinking)\|>"
    r"|<\|(?P<place>begin|end)_of_(?P<name_4>thought)\|>|<\|(?P<place_2>start|end)_(?P<name_6>thinking)\|>"
    r"|(?P<gemma_open><\|channel>[ \t]*thought\b|<unused94>[ \t]*thought\b)|(?P<gemma_close><channel\|>|<unused95>)"
)
"""A tag around thoughts, as a regular expression with the flag IGNORECASE."""
HARMONY = "<|channel|>"
"""What :data:`Separated.kinds` call the channels of the Harmony format."""
_TAG = re.compile(TAG, re.IGNORECASE)
_TOKEN = re.compile(rf"(?P<fence>{OPENING})|(?P<code>`[^`\n]+`)|(?P<tag>{TAG})", re.MULTILINE | re.IGNORECASE)
_HARMONY_MARK = re.compile(r"<\|(start|end|message|channel|constrain|return|call)\|>")
_HARMONY_HEADER = re.compile(
    r"<\|channel\|>\s*(analysis|commentary|final)\b|<\|start\|>assistant\b"
    r"|\A\s*(analysis|commentary|final)\b[^<\n]*<\|message\|>"
)
_UNMARKED = re.compile(r"\A\s*analysis(?P<thought>\S.*)assistantfinal(?P<answer>.*)\Z", re.DOTALL)
_MAY_HAVE = ("think", "thought", "reasoning", "monologue", "<|channel", "<channel|", "<|message|>", "assistantfinal")
"""What every spelling has one of, in small letters. Looked for one by one: an expression takes ten times as long."""
_RESPONSE_MARK = re.compile(r"\A\s*<\|START_RESPONSE\|>|<\|END_RESPONSE\|>\s*\Z")
"""Of Command models: what stands around the answer behind thoughts."""
_QUOTES = frozenset("\"'“”„‘’«»`()/")
_PUNCTUATION = frozenset(".,;:!?…")
_ENDS_A_SENTENCE = frozenset(".!?:…")


class Tag(NamedTuple):
    """A tag around thoughts."""

    kind: str
    closes: bool


class Separated(NamedTuple):
    """The text of an answer without its thoughts."""

    text: str
    thoughts: str | None
    """None: there were none."""
    is_unfinished: bool = False
    """The text ends within a thought: there is no answer after it."""


def separated(text: str, kept: frozenset[str] = frozenset()) -> Separated:
    """Takes the thoughts out of a text; those of the kinds in ``kept`` (:func:`kinds_named_in`) stay."""
    if not _may_have_thoughts(text.lower()):
        return Separated(text, None)
    if HARMONY not in kept:
        found = _of_channels(text)
        if found is not None:
            return found
    spans, is_unfinished = _spans(text, kept)
    if not spans:
        return Separated(text, None)
    thoughts = [thought for thought in (_inner(text[start:end]) for start, end in spans) if thought]
    return Separated(_RESPONSE_MARK.sub("", _without(text, spans)), "\n\n".join(thoughts), is_unfinished)


def _may_have_thoughts(small: str) -> bool:
    for sign in _MAY_HAVE:  # noqa: SIM110  half the time of any(), for every answer
        if sign in small:
            return True
    return False


def kinds_named_in(*prompts: str | None) -> frozenset[str]:
    """The kinds of thoughts that prompts ask for by naming their tag: there they are part of the answer."""
    text = "\n".join(prompt for prompt in prompts if prompt)
    kinds = {tag_of(match).kind for match in _TAG.finditer(text)}
    return frozenset(kinds | {HARMONY} if HARMONY in text else kinds)


def tag_of(match: re.Match[str]) -> Tag:
    """What a match of :data:`TAG` is."""
    if match["gemma_open"] or match["gemma_close"]:
        return Tag("<|channel>", bool(match["gemma_close"]))
    if match["place"]:
        return Tag("of_thought", match["place"].lower() == "end")
    if match["place_2"]:
        return Tag("thinking", match["place_2"].lower() == "end")
    name = match["name"] or match["name_2"] or match["name_3"] or match["name_5"]
    return Tag(name.lower(), bool(match["slash"] or match["slash_2"] or match["slash_3"] or match["slash_4"]))


def is_mention(text: str, match: re.Match[str]) -> bool:
    """Is a tag only spoken of? It is in quotes, and between words of a sentence that goes on behind it."""
    start, end = match.span()
    before = text[text.rfind("\n", 0, start) + 1 : start]
    line_end = text.find("\n", end)
    after = text[end : line_end if line_end >= 0 else len(text)]
    if not before.strip() or not after.strip():
        return False
    if before[-1] in _QUOTES and (after[0] in _QUOTES or after[0] in _PUNCTUATION):
        return True
    if not (before[-1].isspace() or before[-1] in _QUOTES) or before.rstrip()[-1] in _ENDS_A_SENTENCE:
        return False
    goes_on = after[0].isspace() and (after.lstrip()[0].islower() or after.lstrip()[0] in _QUOTES)
    return goes_on or after[0] in _PUNCTUATION or after[0] in _QUOTES


def closing_tag(text: str, kind: str, position: int) -> re.Match[str] | None:
    """The tag that closes a thought of that kind after a position; one of another kind only if there is no better."""
    other = None
    for match in _TAG.finditer(text, position):
        tag = tag_of(match)
        if tag.closes and tag.kind == kind:
            return match
        if tag.closes and other is None:
            other = match
    return other


def stray_closing_tag(text: str, position: int) -> re.Match[str] | None:
    """The next tag that closes a thought, if none opens before it."""
    for match in _TAG.finditer(text, position):
        if not is_mention(text, match):
            return match if tag_of(match).closes else None
    return None


def _spans(text: str, kept: frozenset[str]) -> tuple[list[tuple[int, int]], bool]:
    """Where thoughts are, and whether the text ends within one."""
    spans: list[tuple[int, int]] = []
    position = begin = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token["fence"] is not None:
            block, end = block_at(text, token)
            position = end if block.closed else position
            continue
        if token["code"] is not None:
            continue
        tag = tag_of(token)
        if tag.kind in kept or is_mention(text, token):
            continue
        if tag.closes:
            spans.append((begin, token.end()))
        else:
            closing = closing_tag(text, tag.kind, token.end())
            spans.append((token.start(), closing.end() if closing else len(text)))
            if closing is None:
                return spans, True
            position = closing.end()
        begin = position
    return spans, False


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept = ""
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        part = text[position:start]
        if position:
            apart = re.match(r"\s*", part)
            blank = (kept[len(kept.rstrip()) :] if kept.strip() else "") + (apart[0] if apart else "")
            part = part.lstrip()
            kept = kept.rstrip()
            kept += (("\n\n" if "\n" in blank else " ") if kept and part else "") + part
        else:
            kept = part
        position = end
    return kept if kept.strip() else ""


def _inner(thought: str) -> str:
    """A thought without the tags at its ends."""
    opening = _TAG.match(thought)
    start = opening.end() if opening else 0
    end = max((match.start() for match in _TAG.finditer(thought) if match.end() == len(thought)), default=len(thought))
    return thought[start : max(start, end)].strip()


def _of_channels(text: str) -> Separated | None:
    """The last message in the channel ``final`` of a text in the Harmony format; None if it is in another."""
    unmarked = _UNMARKED.match(text)
    if unmarked:
        return Separated(unmarked["answer"].strip(), unmarked["thought"].strip())
    header = _HARMONY_HEADER.search(text)
    if header is None or _is_spoken_of(text, header):
        return None
    marks = list(_HARMONY_MARK.finditer(text))
    names: list[str] = []
    channel: str | None = None
    thoughts: list[str] = []
    answer: str | None = None
    is_content = marks[0][1] != "message"  # what comes before the first mark
    position, last_mark = 0, ""
    for mark in [*marks, None]:
        piece = text[position : mark.start() if mark else len(text)]
        if is_content and piece.strip():
            if channel == "final":
                answer = piece.strip()
            else:
                thoughts.append(piece.strip())
        elif not is_content and last_mark == "channel":
            names.append(piece)
        elif not is_content and position == 0:
            names.append(piece)  # the server lost the first mark
        if mark is None:
            break
        if mark[1] == "message":
            channel = names[-1].split()[0].lower() if names and names[-1].strip() else "final"
        if mark[1] in ("end", "return", "call", "start"):
            names, channel = [], None
        is_content = mark[1] == "message"
        position, last_mark = mark.end(), mark[1]
    return Separated(answer or "", "\n\n".join(thoughts) or None, answer is None)


def _is_spoken_of(text: str, mark: re.Match[str]) -> bool:
    """Is a mark within a fenced block or ``code``?"""
    for token in _TOKEN.finditer(text):
        if token.start() > mark.start():
            return False
        end = block_at(text, token)[1] if token["fence"] is not None else token.end()
        if token["tag"] is None and end > mark.start():
            return True
    return False
