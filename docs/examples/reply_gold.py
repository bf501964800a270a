"""The gold of the preference example: what the shop's rules say of a reply. Training never sees it; the gate judges by it."""

import re
from typing import Any

SORRY = re.compile(r"(?:Sorry about|We are sorry about|Sorry for the trouble with) the (\w+)\.")


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """Right: sorry about the customer's thing, then the remedy that fits it, and nothing else."""
    text = sample["output_text"].strip()
    found = SORRY.match(text)
    remedy = text[found.end() :].strip() if found else ""
    parts = {"thing": float(bool(found) and found[1] == item["thing"]), "remedy": float(remedy == item["remedy"])}
    return {"score": min(parts.values()), "parts": parts, "reason": "" if found else "it is not sorry", "answer": text}
