"""Characters that act in place of being seen, and what is shown for them."""

from __future__ import annotations

# Control characters, which steer a terminal, and which a browser drops or takes offence at, by the pictures that
# Unicode has of them, where it has any; and those that turn the direction of a text, so that an id may look like
# another.
_OTHERS = [*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421} | dict.fromkeys(_OTHERS, 0xFFFD)
_ON_A_TERMINAL = {code: shown for code, shown in VISIBLE.items() if chr(code) not in "\n\t"}


def on_a_terminal(text: str) -> str:
    """Words that hold names of files, labels or a storage's answer, so that a terminal shows them and does no more."""
    return text.translate(_ON_A_TERMINAL)
