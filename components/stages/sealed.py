"""Stage *sealed*: challenger and incumbent on one sealed fold. Only the gate reads it, and nothing of it is logged."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ratchet.components.records import Decoding
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Job, Models, ScoredStage, configuration, score
from ratchet.components.stages.stage import Context, Stage, finish, key_of
from ratchet.components.storage.digests import digest_of


class SealedStage(ScoredStage):
    """Rows on the fold, and below ``guard/`` on the guard split where a rule is on it."""

    name = Stage.SEALED


def sealed_evaluation(
    context: Context, data: DataStage, models: Models, fold: str, items: Sequence[str], greedy: Sequence[str], guard: bool
) -> SealedStage:
    """Rows of both arms on items of a sealed fold.

    Args:
        greedy: places (``sealed``, ``guard``) where greedy rows are needed as well.
        guard: whether the guard split is needed.
    """
    inputs = {"data": data.version, **models.digests}
    what = [configuration(context), fold, digest_of(list(items)), list(greedy), guard]
    key = key_of(SealedStage, __name__, what, inputs)
    # The draws depend on the fold and the challenger's weights alone: another seed or template is not a second try.
    seed = int(digest_of([data.fold_digest(fold), models.challenger.weights])[:12], 16)

    def write(path: Path) -> Mapping[str, str]:
        chosen = set(items)
        places = {"": [row for row in data.table(fold) if row["id"] in chosen]}
        if guard:
            places["guard"] = list(data.table("guard"))
        wanted = [(place, Decoding.SAMPLED) for place in places]
        wanted += [(place, Decoding.GREEDY) for place in places if (place or "sealed") in greedy]
        return score(
            context, models, [Job(place, places[place], how, "sealed", seed) for place, how in wanted], path, Stage.GATE
        )[1]

    return finish(context, SealedStage, key, write)
