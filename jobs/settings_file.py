"""Settings from a YAML file and from values: what is wrong with them is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from strideformer.errors import StrideformerError

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings_file(file: str | None) -> dict[str, Any]:
    """Names and values of a YAML file; none of no file.

    Raises:
        StrideformerError: the file cannot be read, or holds something else.
    """
    if file is None:
        return {}
    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StrideformerError(f"the settings file {file}{place}, is not YAML: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StrideformerError(f"cannot read the settings file {file}: {error}") from error
    if not isinstance(values, dict):
        raise StrideformerError(f"the settings file {file} must hold one mapping of names to values")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def load_settings(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """Settings from their values.

    Raises:
        StrideformerError: a field is unknown, missing or wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"there is no such setting (known: {', '.join(kind.model_fields)})"
        elif first["type"] == "missing":
            message = f"it is missing: give {'OUTPUT' if field == 'output' else '--' + field.replace('_', '-')}"
        place = f"{field}: " if field else ""
        raise StrideformerError(f"{place}{message}") from error
