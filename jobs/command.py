"""The ``strideformer`` command as it is installed, which says what is missing where only the library is."""

from __future__ import annotations

import sys

EXTRA = "pip install 'strideformer[jobs]'"


def main() -> int:
    """Entry point of the ``strideformer`` command."""
    try:
        from jobs.cli import main as run
    except ModuleNotFoundError as error:
        print(f"strideformer: the jobs need {error.name}: {EXTRA}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
