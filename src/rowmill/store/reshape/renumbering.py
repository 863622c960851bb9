"""Renumbering: the bits of generators, moved from the places a run database has them at to those of another graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rowmill.graph.graph import WORD_BITS, GeneratorNode


class Renumbering:
    """From the numbers that generators had to those they have."""

    def __init__(self, old: Mapping[str, int]) -> None:
        """``old``: the numbers by name."""
        self._old = old

    def moved(self, kind: str, word: int, nodes: Iterable[GeneratorNode]) -> str:
        """A word of the new set ``kind``: the bits of ``nodes`` in a row ``a`` of the source, shifted from where it has
        them. A generator it does not know has none."""
        shifts: dict[tuple[int, int], int] = {}
        for node in nodes:
            if node.name not in self._old:
                continue
            new_word, new_bit = divmod(node.number, WORD_BITS)
            old_word, old_bit = divmod(self._old[node.name], WORD_BITS)
            if new_word == word:
                key = (old_word, new_bit - old_bit)
                shifts[key] = shifts.get(key, 0) | 1 << old_bit
        parts = []
        for (old_word, distance), mask in sorted(shifts.items()):
            bits = f"(a.{kind}_{old_word} & {mask}::ubigint)"
            if distance:
                # Through 128 bits: the engine refuses to shift a bit into the highest place of 64.
                operator = "<<" if distance > 0 else ">>"
                bits = f"({bits}::uhugeint {operator} {abs(distance)})::ubigint"
            parts.append(bits)
        return " | ".join(parts) or "0::ubigint"
