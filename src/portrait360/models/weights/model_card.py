"""Model cards: the README.md that the Hugging Face hub shows of a model, with its facts at the top as YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from portrait360.utils.files import atomic_write

TAGS = ("portrait360", "head", "novel-view-synthesis")


@dataclass(frozen=True)
class ModelCard:
    title: str
    text: str  # Markdown: what the networks are, and how they are loaded
    license: str  # as the hub spells it: apache-2.0, creativeml-openrail-m, other
    library: str = "portrait360"
    base_model: str | None = None
    tags: Sequence[str] = TAGS
    facts: Mapping[str, str] = field(default_factory=dict)  # a table below the text

    def render(self) -> str:
        entries: dict[str, object] = {"license": self.license, "library_name": self.library, "tags": list(self.tags)}
        if self.base_model:
            entries["base_model"] = self.base_model
        # JSON is YAML, so nothing in a value can end it
        head = "".join(f"{name}: {json.dumps(value)}\n" for name, value in entries.items())
        rows = "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in self.facts.items())
        table = f"\n| | |\n|---|---|\n{rows}" if rows else ""
        return f"---\n{head}---\n\n# {self.title}\n\n{self.text.strip()}\n{table}"

    def write(self, folder: Path) -> None:
        with atomic_write(folder / "README.md") as temporary:
            temporary.write_text(self.render(), encoding="utf-8")


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
