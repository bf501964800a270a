"""What a command prints as JSON on stdout."""

import json

from ratchet.components.text import redacted_values


def as_json(value: object) -> str:
    """JSON without credentials."""
    return json.dumps(redacted_values(value), indent=2)
