"""Thoughts in the text of an answer: what is one, and what only speaks of one."""

from __future__ import annotations

import pytest

from rowmill.generators.prompting.thoughts import kinds_named_in, separated


@pytest.mark.parametrize(
    ("answer", "text", "thoughts"),
    [
        ("<think>a</think>Yes.", "Yes.", "a"),
        ("  <thinking>\na\n</thinking>\n\nYes.", "Yes.", "a"),
        ("<THOUGHT>a</THOUGHT> Yes.", "Yes.", "a"),
        ('<reasoning lang="en">a</reasoning>Yes.', "Yes.", "a"),
        ("a</think>Yes.", "Yes.", "a"),
        ("I know. </think> Yes.", "Yes.", "I know."),
        ("a\n</think>\n\nYes.", "Yes.", "a"),
        ("<think>a</think><think>b</think>Yes.", "Yes.", "a\n\nb"),
        ("<think>a<think>b</think>c</think>Yes.", "Yes.", "a<think>b\n\nc"),
        ("<think>a</thinking>Yes.", "Yes.", "a"),
        ("Sure. <think>a</think> Yes.", "Sure. Yes.", "a"),
        ("Sure.\n<think>a</think>\nYes.\n<think>b</think>\nDone.", "Sure.\n\nYes.\n\nDone.", "a\n\nb"),
        ("Yes.\n<think>a</think>", "Yes.", "a"),
        ("<think></think>Yes.", "Yes.", ""),
        ("<think>```\n</think>\n```\ncode\n```", "```\ncode\n```", "```"),
        ("[THINK]a[/THINK]Yes.", "Yes.", "a"),
        ("◁think▷a◁/think▷Yes.", "Yes.", "a"),
        ("<|begin_of_thought|>a<|end_of_thought|>Yes.", "Yes.", "a"),
        ("<|channel>thought\na<channel|>Yes.", "Yes.", "a"),
        ("<unused94>thought\na<unused95>Yes.", "Yes.", "a"),
        ("<|think|>a<|/think|>Yes.", "Yes.", "a"),
        ("<longcat_think>a</longcat_think>Yes.", "Yes.", "a"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>", "Yes.", "a"),
        ("<|START_THINKING|>a<|END_THINKING|>Yes.", "Yes.", "a"),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
            "<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
            "Yes.",
            "a\n\nb",
        ),
        ("a<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes.", "a"),
        ("analysis<|message|>a<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>3", "3", "a"),
        ("analysisWe see.assistantfinalYes.", "Yes.", "We see."),
    ],
)
def test_thoughts_are_taken_out_whatever_they_are_marked_with(answer: str, text: str, thoughts: str) -> None:
    assert separated(answer) == (text, thoughts, False)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<think>a", ""),
        ("Yes.\n<think>a", "Yes."),
        ("<|channel|>analysis<|message|>We think", ""),
        ("<|channel|>analysis<|message|>We think<|end|>", ""),
    ],
)
def test_a_text_may_end_within_a_thought(answer: str, text: str) -> None:
    found = separated(answer)
    assert (found.text, found.is_unfinished) == (text, True)


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        " I was thinking. \n",
        "The model puts its thoughts between <think> and </think> tags, then answers.",
        "Close it with </think> when done.",
        'Use "<think>" and "</think>".',
        "Use `<think>` and `</think>`, <reasoning>, or (<thought>).",
        "```xml\n<think>x</think>\n```",
        "~~~\nx</think>\n~~~\nand so on",
        "The mark `<|channel|>analysis<|message|>` opens it.",
        "Analysis of the assistant: final.",
        "<thinker>x</thinker>",
        "A [think] tank",
    ],
)
def test_a_text_that_speaks_of_thoughts_is_left_as_it_is(answer: str) -> None:
    assert separated(answer) == (answer, None, False)


def test_tags_that_a_prompt_asks_for_are_part_of_the_answer() -> None:
    kept = kinds_named_in("Think in <think> tags, then answer.", None)
    assert separated("<think>a</think>Yes.", kept) == ("<think>a</think>Yes.", None, False)
    assert separated("<reasoning>a</reasoning><think>b</think>Yes.", kept).text == "<think>b</think>Yes."
