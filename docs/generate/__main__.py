"""``python -m docs.generate``: write the generated pages of docs/."""

from pathlib import Path

from docs.generate import command_line, recipe_keys, scaling

DOCS = Path(__file__).resolve().parents[1]
GENERATED = {"recipe_keys.md": recipe_keys.text, "command_line.md": command_line.text, "scaling.md": scaling.text}


def main() -> None:
    """Write each page."""
    for name, text in GENERATED.items():
        (DOCS / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
