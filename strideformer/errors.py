"""The one exception type of Strideformer that a person is meant to catch."""

from __future__ import annotations


class StrideformerError(Exception):
    """What was wrong, where (file, row, field), and what to do about it, in one sentence.

    Everything that Strideformer refuses (a bad setting, a model that does not fit its tokenizer, an input
    that cannot be read) is raised as this type; the commands print it without a traceback and exit with 2.
    """
