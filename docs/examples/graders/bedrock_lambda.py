"""A handler of Amazon Bedrock or SageMaker: ``lambda_handler(event, context)``. Here: the one team that a reply names."""

from typing import Any

TEAMS = ("billing", "delivery", "account", "repair")


def lambda_handler(event: list[dict[str, Any]], context: object) -> list[dict[str, Any]]:
    return [judged(element) for element in event]


def judged(element: dict[str, Any]) -> dict[str, Any]:
    reply = element["messages"][-1]["content"].casefold()
    named = [team for team in TEAMS if team in reply]
    right = named == [element["reference_answer"]]  # a reply that names every team names none
    return {
        "id": element["id"],
        "aggregate_reward_score": float(right),
        "metrics_list": [{"name": "teams_named", "value": len(named), "type": "Metric"}],
    }
