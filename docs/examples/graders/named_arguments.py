"""Predibase's ``f(prompt, completion, example)``: one completion and its row. Here: a rewrite that keeps the terms."""

from typing import Any


def keeps_the_terms(prompt: str, completion: str, example: dict[str, Any]) -> float:
    words = completion.casefold().split()
    if " ".join(prompt.casefold().split()) in " ".join(words):
        return 0.0  # the text repeated keeps every term, and rewrites nothing
    terms = [term.casefold() for term in example["terms"]]
    return sum(term in words for term in terms) / len(terms)
