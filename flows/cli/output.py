"""What a command prints as JSON on stdout."""

from ratchet.components.storage.json_text import json_text
from ratchet.components.text import redacted_values


def as_json(value: object) -> str:
    """JSON without credentials; a figure that is not finite is null."""
    return json_text(redacted_values(value), indent=2)
