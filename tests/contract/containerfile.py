"""Reading a Containerfile: its instructions, and what is wrong with them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

EXEC_FORM = ("RUN", "ENTRYPOINT", "CMD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its word and the rest of it, continuation lines joined."""

    word: str
    rest: str

    @property
    def arguments(self) -> list[str]:
        """The exec form's arguments."""
        found: Any = json.loads(self.rest[self.rest.index("[") :])
        return [str(argument) for argument in found]


def read(text: str) -> list[Instruction]:
    """The instructions of a Containerfile, in order."""
    whole = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not re.match(r"\s*#", line)))
    pairs = [line.strip().partition(" ") for line in whole.splitlines() if line.strip()]
    return [Instruction(word=word.upper(), rest=rest.strip()) for word, _, rest in pairs]


def _sources(instructions: list[Instruction]) -> list[str]:
    found = []
    arguments = {each.rest.partition("=")[0]: each.rest for each in instructions if each.word == "ARG"}
    for each in instructions:
        if each.word != "FROM":
            continue
        image = each.rest.split()[0]
        if not re.fullmatch(r"\$\{\w+\}@\$\{\w+\}|[^@\s]+@sha256:[0-9a-f]{64}", image):
            found.append(f"FROM {image} is not pinned by digest")
        named = re.findall(r"@\$\{(\w+)\}", image)
        found += [f"{name} has a default" for name in named if "=" in arguments.get(name, "=")]
    return found


def _forms(instructions: list[Instruction]) -> list[str]:
    found = []
    for each in instructions:
        command = each.rest[each.rest.find("CMD") :] if each.word == "HEALTHCHECK" else each.rest
        if each.word in (*EXEC_FORM, "HEALTHCHECK") and not re.match(r"(CMD )?\[", command):
            found.append(f"{each.word} runs a shell: {each.rest[:40]}")
        elif each.word in (*EXEC_FORM, "HEALTHCHECK") and {"sh", "bash", "-c"} & set(each.arguments):
            found.append(f"{each.word} calls a shell: {each.rest[:40]}")
    return found


def problems(text: str) -> list[str]:
    """What is wrong with a Containerfile; nothing for a good one."""
    instructions = read(text)
    found = _sources(instructions) + _forms(instructions)
    found += [
        f"ADD {each.rest[:40]} brings what COPY would not" for each in instructions if each.word == "ADD"
    ]
    found += ["a tag 'latest'" for each in instructions if re.search(r":latest\b", each.rest)]
    last = [index for index, each in enumerate(instructions) if each.word == "FROM"][-1:]
    stage = instructions[last[0] :] if last else []
    users = [each.rest for each in stage if each.word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append("the last USER is not a number other than root")
    installs = [each for each in instructions if each.word == "RUN" and "install" in each.rest]
    found += [
        f"an install without hashes: {each.rest[:60]}"
        for each in installs
        if not {"--require-hashes", "--no-index"} & set(each.arguments)
    ]
    found += [
        f"a secret in {each.word}: {each.rest[:40]}"
        for each in instructions
        if each.word in ("ARG", "ENV") and re.search(r"(?i)passw|secret|token|api_?key", each.rest)
    ]
    found += [f"no {word}" for word in ("ENTRYPOINT", "HEALTHCHECK") if word not in [i.word for i in stage]]
    return found
