"""The settings table of the README, made from a settings model: ``python -m jobs.settings_table``."""

from __future__ import annotations

from pydantic import BaseModel

from jobs.settings import ClassifySettings

PATHS = ("inputs", "output")


def settings_table(kind: type[BaseModel]) -> str:
    """A Markdown table: each field, its default, its description; what the command line has first comes first."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for name, field in sorted(kind.model_fields.items(), key=lambda item: item[0] not in PATHS):
        if field.is_required():
            default = "required"
        elif field.default_factory is not None or field.default is None:
            default = ""
        else:
            default = f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(settings_table(ClassifySettings))
