"""The rows of the preference example: what customers wrote, replies to imitate, and which of two replies readers preferred.

    python docs/examples/replies.py rows        # writes rows/messages.jsonl and rows/preferences.jsonl

A good reply is sorry about the right thing and offers the one remedy that fits, and nothing else. It may be worded in three
ways, so no single text is right. The same seed gives the same bytes.
"""

import json
import random
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

THINGS = ["lamp", "phone", "radio", "clock", "camera", "kettle", "printer", "heater", "scale", "drill", "mixer", "router"]
OPENINGS = ["My", "Hello, my", "Our new", "The old", "Help: the", "Again my", "I see that my", "Since today my"]
REMEDIES = {
    "We refund the price.": ["was charged twice", "has the wrong price", "shows an unpaid bill", "costs less elsewhere"],
    "We find the parcel.": ["is late", "went to a neighbour", "is still at the depot", "has not come"],
    "We send a new one.": ["came broken", "has a crack", "lacks a part", "has the wrong colour"],
    "We repair it.": ["makes a noise", "does not start", "is too hot", "stops at night"],
}
SORRY = ["Sorry about the {}.", "We are sorry about the {}.", "Sorry for the trouble with the {}."]
SWAPPED = 0.05  # of the pairs: readers err
FLAWED = 0.4  # of the replies to imitate
PAIRS = 3  # per message


def good(thing: str, remedy: str, draws: random.Random) -> str:
    return f"{draws.choice(SORRY).format(thing)} {remedy}"


def flawed(thing: str, remedy: str, draws: random.Random) -> Iterator[str]:
    """Replies with one flaw each: another remedy, another thing, no regret, a promise too many, nothing offered."""
    sorry = draws.choice(SORRY)
    others = [one for one in REMEDIES if one != remedy]
    yield f"{sorry.format(thing)} {draws.choice(others)}"
    yield f"{sorry.format(draws.choice([one for one in THINGS if one != thing]))} {remedy}"
    yield f"Noted. {remedy}"
    yield f"{sorry.format(thing)} {remedy} {draws.choice(others)}"
    yield sorry.format(thing)


def rows(draws: random.Random) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """Each message with a reply to imitate, and its pairs."""
    asked = [(o, t, p, remedy) for remedy, problems in REMEDIES.items() for o, t, p in product(OPENINGS, THINGS, problems)]
    draws.shuffle(asked)
    for opening, thing, problem, remedy in asked:
        prompt = f"{opening} {thing} {problem}."
        wrong = list(flawed(thing, remedy, draws))
        given = draws.choice(wrong) if draws.random() < FLAWED else good(thing, remedy, draws)
        message = {
            "prompt": prompt,
            "answer": good(thing, remedy, draws),
            "completion": given,
            "thing": thing,
            "remedy": remedy,
        }
        pairs = []
        for rejected in draws.sample(wrong, PAIRS):
            sides = [good(thing, remedy, draws), rejected]
            if draws.random() < SWAPPED:
                sides.reverse()
            pairs.append({"prompt": prompt, "chosen": sides[0], "rejected": sides[1]})
        yield message, pairs


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    messages, pairs = zip(*rows(random.Random(16)), strict=True)  # noqa: S311 - words, not secrets
    for name, records in {"messages": messages, "preferences": [pair for some in pairs for pair in some]}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
        print(f"{folder / name}.jsonl: {len(records)} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
