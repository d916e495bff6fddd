"""Reads the assembly of kernels: which block is the innermost loop, and what is in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convjit.codegen.target import Target

__all__ = ["Block", "calls", "hottest", "vector_name"]

_LABEL = re.compile(r"^\s*(\.L\w+|[A-Za-z_]\w*):")
_JUMP = re.compile(r"^\s*(?:j\w+|b|b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.L\w+)")
_CALL = re.compile(r"^\s+(call\w*|bl|blr)\s+(\S+)")
# One pair of product and sum per instruction, or the product where a target has no such instruction.
_MULTIPLY = {"avx512": r"vfn?madd\w*ps\b", "avx2": r"vfn?madd\w*ps\b", "sse": r"mulps\b", "neon": r"fmla\b"}


@dataclass(frozen=True)
class Block:
    """Instructions from one label or jump to the next."""

    label: str
    lines: tuple[str, ...]
    target: Target
    framed: bool
    """Whether rbp points to the stack and is no plain register."""

    def matching(self, pattern: str) -> list[str]:
        """The instructions in which a pattern is found."""
        return [line for line in self.lines if re.search(pattern, line)]

    @property
    def multiplies(self) -> list[str]:
        """Instructions that multiply, and add where the target does both at once."""
        return self.matching(_MULTIPLY[self.target.name])

    @property
    def on_stack(self) -> list[str]:
        """Instructions that touch the stack."""
        if not self.target.is_x86:
            return self.matching(r"\[sp\b")
        return self.matching(r"\(%rsp\b|\(%rbp\b" if self.framed else r"\(%rsp\b")

    @property
    def loops(self) -> bool:
        """Whether it ends with a jump to its own start."""
        jump = _JUMP.match(self.lines[-1]) if self.lines else None
        return bool(jump and jump[1] == self.label)


def _blocks(text: str, target: Target) -> list[Block]:
    framed = bool(re.search(r"mov\w*\s+%rsp, %rbp", text))
    found: list[Block] = []
    label, lines = "", list[str]()
    for line in text.splitlines():
        if match := _LABEL.match(line):
            found.append(Block(label, tuple(lines), target, framed))
            label, lines = match[1], []
        elif line.startswith("\t") and not line.startswith("\t."):
            lines.append(line)
            if _JUMP.match(line):
                found.append(Block(label, tuple(lines), target, framed))
                label, lines = "", []
    return [*found, Block(label, tuple(lines), target, framed)]


def hottest(text: str, target: Target, pattern: str = "") -> Block:
    """The block with most multiply-adds, or other instructions: the innermost loop."""
    return max(_blocks(text, target), key=lambda block: len(block.matching(pattern) if pattern else block.multiplies))


def calls(text: str) -> list[str]:
    """Functions that are called."""
    return [match[2] for line in text.splitlines() if (match := _CALL.match(line))]


def vector_name(target: Target) -> str:
    """A pattern for the target's registers at their full width."""
    return {"avx512": r"%zmm\d+", "avx2": r"%ymm\d+", "sse": r"%xmm\d+", "neon": r"\bv\d+\.4s"}[target.name]
