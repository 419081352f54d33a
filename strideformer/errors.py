"""The one exception type of Strideformer that a person is meant to catch, and the words of others in it."""

from __future__ import annotations

import pickle


class StrideformerError(Exception):
    """What was wrong, where (file, row, field), and what to do about it, in one sentence.

    Everything that Strideformer refuses (a bad setting, a model that does not fit its tokenizer, an input
    that cannot be read) is raised as this type; the commands print it without a traceback and exit with 2.
    """


def first_line(error: BaseException) -> str:
    """What an exception of another library says, for the middle of a sentence; its type where it says nothing.

    Of a pickle that torch refuses it is not torch's advice, which is to run what is in there.
    """
    if isinstance(error, pickle.UnpicklingError):
        return "it is broken, or holds more than tensors, and nothing else is unpickled"
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".: ")
