"""Samples that a validation draws from."""

from ratchet.components.rewards.checks.validation import Draw, Samples


def drawing(pool: Samples) -> Draw:
    """Draws the samples of the prompts from one place to another, in the pool's order."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(row["prompt"] for row in pool.rows))}

    def draw(start: int, stop: int) -> Samples:
        kept = [i for i, row in enumerate(pool.rows) if start <= places[row["prompt"]] < stop]
        return Samples([pool.rows[i] for i in kept], [pool.completions[i] for i in kept])

    return draw
