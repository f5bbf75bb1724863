"""What the budget full is of a paper: its own network, data and length, or what is there instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CITED = ("network", "data", "length")


@dataclass(frozen=True)
class Full:
    """Budget full of a paper.

    Attributes:
        cited: what of :data:`CITED` is the paper's, as (text, source).
        instead: what the others are.
        set: options over those of each configuration.
        none: why there are no runs at full, alone; empty where there are.
    """

    cited: dict[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    instead: dict[str, str] = field(default_factory=dict, hash=False)
    set: dict[str, Any] = field(default_factory=dict, hash=False)
    none: str = ""

    @property
    def complete(self) -> bool:
        """Whether network, data and length are the paper's."""
        return len(self.cited) == len(CITED)

    def lines(self) -> list[str]:
        """A line for each of network, data and length that the file speaks of, or the reason why there is nothing."""
        if self.none:
            return [f"no runs at full: {self.none}"]
        own = {name: f"{name} of the paper ({source}): {text}" for name, (text, source) in self.cited.items()}
        other = {name: f"{name} not of the paper: {text}" for name, text in self.instead.items()}
        return [(own | other)[name] for name in CITED if name in own | other]
