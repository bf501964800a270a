"""How an experiment looks in MLflow's own pages: what its names mean, and a view in which the columns that matter come first.

MLflow's table shows no metric until somebody picks columns. A saved view is a tag of the experiment
(``mlflow.sharedViewState.ID``); whoever opens it from the button *Views*, or by its link, sees these columns.
"""

import json
from collections.abc import Mapping, Sequence

KIND, NOTE, PRIMARY = "mlflow.experimentKind", "mlflow.note.content", "mlflow.experiment.primaryMetric.name"
VIEW = "verdicts"  # in the view's link; another state takes another name, because a person may have changed this one
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
RUN_NAME = "attributes.`Run Name`"
COLUMNS: Mapping[str, Sequence[str]] = {
    "tags": ("verdict", "version"),
    "metrics": ("dev/before", "dev/after", "sealed/gain", "sealed/gain_low", "sealed/gain_high"),
    "params": ("train.algorithm", "policy.start", "seed"),
}
GUIDE = """One row per run; its arrow unfolds a row per stage. [The columns that matter]({link}), also under *Views*.

| name | what it is |
| --- | --- |
| `dev/before`, `dev/after`, `dev/gain` | the headline measure on the development split: incumbent, candidate, difference |
| `sealed/...` | figures of the gate's test, shown once its fold is retired; `gain_low`, `gain_high`: 95% interval |
| `curve/...` | training by step, alike for PPO and GRPO; with `curve/samples` as x-axis, runs compare on one budget |
| a stage's `cached` | `true`: taken from the store, where the run `made_by` had put it; `seconds` are those of making it |

The artifact `recipe.yaml` is the whole recipe; a stage's parameters are its part of it.
"""


def tags_of(experiment: str, created: int) -> dict[str, str]:
    """The tags that make an experiment look like this.

    Args:
        created: milliseconds since 1970.
    """
    link = f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"
    return {
        KIND: "custom_model_development",  # else MLflow asks, and shows pages for traces
        PRIMARY: "dev/after",
        NOTE: GUIDE.format(link=link),
        VIEW_TAG: json.dumps({"name": "Verdicts", "createdAt": created, "updatedAt": created, "state": json.dumps(_state())}),
    }


def _state() -> dict[str, object]:
    chosen = [f"{kind}.`{name}`" for kind, names in COLUMNS.items() for name in names]
    return {
        "selectedColumns": chosen,
        "columnOrder": [RUN_NAME, *chosen],
        "columnWidths": {RUN_NAME: 290},  # pixels: recipe, date, ending and version
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
    }
