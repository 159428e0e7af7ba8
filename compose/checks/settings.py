"""The variables that the program reads, from .env.example: a test holds that to the program itself."""

import re
from functools import cache
from pathlib import Path


@cache
def known_settings() -> frozenset[str]:
    """Their names, without the forms that end in _FILE."""
    text = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
