"""Secrets of the environment, taken out of words that others made before anybody reads them."""

from __future__ import annotations

import os
import re

# AWS_ACCESS_KEY_ID is no secret, and says which of a user's keys was refused.
_SECRET_VARIABLE = re.compile(r"SECRET|TOKEN(?!IZERS)|PASSW|CONNECTION_STRING|(API|ACCOUNT|STORAGE|PRIVATE)_KEY")
_SHORTEST = 6  # a shorter value is no secret, and stands in many words


def without_secrets(text: str) -> str:
    """The text with ``***`` in place of each value of a variable of the environment that holds a secret by its name."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_VARIABLE.search(name.upper()):
            text = text.replace(value, "***")
    return text
