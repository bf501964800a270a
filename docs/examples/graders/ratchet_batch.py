"""Ratchet's own ``f(prompts, completions, rows)``: a whole batch, with parts and reasons. Here: a summary keeps the figures."""

import re
from typing import Any

FIGURE = re.compile(r"\d[\d.,]*\d|\d")


def faithful(prompts: list[str], completions: list[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [judged(text, row["item"]["text"]) for text, row in zip(completions, rows, strict=True)]


def judged(summary: str, text: str) -> dict[str, Any]:
    given, kept = set(FIGURE.findall(text)), set(FIGURE.findall(summary))
    parts = {
        "kept": len(kept & given) / len(given) if given else 1.0,
        "invented": float(len(kept - given)),
        "short": float(0 < len(summary.split()) <= len(text.split()) / 2),
    }
    right = parts["short"] == 1.0 and not kept - given
    return {"score": parts["kept"] if right else 0.0, "parts": parts, "reason": f"invented: {sorted(kept - given)}"}
