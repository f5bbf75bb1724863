"""What keeps the text of records text: data inside HTML, names of files."""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any

from elboard.results.markup import finite

if TYPE_CHECKING:
    from markupsafe import Markup  # comes with Jinja2, which may be absent


def json_text(tree: Any) -> str:
    """Compact JSON that cannot end the element that it stands in: ``<``, ``>``, ``&`` and the line separators are escaped."""
    text = json.dumps(finite(tree), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def embedded(tree: Any, name: str) -> Markup:
    """A data block that scripts read by its id ``name``."""
    from markupsafe import Markup

    return Markup('<script type="application/json" id="{}">{}</script>').format(name, Markup(json_text(tree)))  # noqa: S704 (escaped above)


def inline(text: str) -> Markup:
    """``text`` of a docstring, escaped, with what stands in backticks (or in a role, ``:mod:`x```) as code."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?::\w+:`|`{1,2})([^`]+)`{1,2}", text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def slug(name: str) -> str:
    """A file name for ``name``: itself where it is harmless; otherwise what is harmless of it and a checksum, so that no two agree."""
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,79}", name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{kept}.{zlib.crc32(name.encode()):08x}".lstrip(".")
