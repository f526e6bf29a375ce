"""A Dockerfile as its instructions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    word: str
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """The words of a JSON array."""
        words: Any = json.loads(self.rest)
        assert isinstance(words, list) and all(isinstance(word, str) for word in words), self.rest
        return words

    @property
    def sources(self) -> list[str]:
        """What a COPY takes."""
        return [word for word in shlex.split(self.rest) if not word.startswith("--")][:-1]

    @property
    def variables(self) -> dict[str, str]:
        """What an ENV sets."""
        return dict(pair.split("=", 1) for pair in shlex.split(self.rest))


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, FROM first."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Instruction(word, rest.strip()))
    return found


def all_of(stage: list[Instruction], word: str) -> list[Instruction]:
    """The instructions of one kind."""
    return [each for each in stage if each.word == word]
