"""What a user claims is put into prompts, and says nothing about which answer is better."""

from ratchet.components.rewards.learned.claims import claimed, numbers, with_claims

PAIRS = [{"prompt": f"{n} + 1?", "chosen": f"#### {n + 1}", "rejected": f"#### {n + 2}"} for n in range(400)]


def test_a_pair_has_two_numbers_or_none() -> None:
    assert numbers({"chosen": "1,000 in all\n#### 1000", "rejected": "#### 12.50"}) == ("1000", "12.5")
    assert numbers({"chosen": "#### 7", "rejected": "the answer is 7.0"}) is None
    assert numbers({"chosen": "#### 7", "rejected": "no idea"}) is None


def test_a_claim_is_a_sentence_of_the_user() -> None:
    assert claimed(PAIRS[2], "9") == {**PAIRS[2], "prompt": "2 + 1? I think the answer is 9."}


def test_a_share_of_the_prompts_claims_one_of_the_answers_at_evens() -> None:
    rows = with_claims(PAIRS, 0.5, 1)
    right = sum(row["prompt"].endswith(f"is {n + 1}.") for n, row in enumerate(rows))
    wrong = sum(row["prompt"].endswith(f"is {n + 2}.") for n, row in enumerate(rows))
    assert abs(right + wrong - 200) <= 30  # three standard deviations of 400 draws at 1/2
    assert abs(right - 100) <= 26  # and at 1/4
    assert all((row["chosen"], row["rejected"]) == (p["chosen"], p["rejected"]) for row, p in zip(rows, PAIRS, strict=True))
    assert with_claims(PAIRS, 0.0, 1) == PAIRS
    assert with_claims(PAIRS, 0.5, 1) == rows
