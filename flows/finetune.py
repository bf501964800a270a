"""One run: prepare data, warm up, validate the reward, train, evaluate, gate, promote.

A stage that this run or another finished is taken from the store. A refusal is an ending, not an error.
"""

from dataclasses import replace
from typing import Any

from prefect import flow

from ratchet.components.errors import StaleChampionError
from ratchet.components.gate.plan import Plan
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run import steps
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Ending, Run
from ratchet.components.run.repeats import FinishedStages, repeated_run, unchanged_candidate, verdict_of_this_run
from ratchet.components.run.told import KEPT
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.gold import gold_report
from ratchet.components.stages.results import DataStage, PolicyStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Stage
from ratchet.flows import endings, tasks
from ratchet.flows.cli.views.console import say
from ratchet.flows.running import run_recipe

JUDGING = (None, Stage.PLAN, Stage.GATE)  # the runs that ask the gate
ROUNDS = 3  # how often a challenger is judged at most: another may become champion meanwhile


# No retries, whatever PREFECT_FLOWS_DEFAULT_RETRIES says: tasks retry what may be transient, and a refusal stays one.
@flow(name="finetune", flow_run_name="{recipe}", persist_result=False, retries=0)
def finetune(
    recipe: str = "recipes/quickstart.yaml",
    overrides: list[str] | None = None,
    until: str | None = None,
    slot: str | None = None,
) -> dict[str, Any]:
    """One fine-tuning run.

    Args:
        recipe: path of a recipe file.
        overrides: ``key.path=value`` overrides of it.
        until: stop after this stage: data, reward, train, evaluate, plan (what the gate would do) or gate.
        slot: logical date, for recipes with ``seed: slot``; by default the scheduled time of the run.

    Returns:
        The shape of ``run --json``, of a run that was promoted, refused, unchanged, or stopped after ``until``.

    Raises:
        UnsuccessfulRunError: if the run ended as reward_refused, invalid, stopped or error; ``result`` has its shape.
    """
    # Nothing more here: serving pickles this body with every global it names, and a console cannot be pickled.
    result: dict[str, Any] = run_recipe(tell, recipe, overrides or [], until, slot)
    return result


def result_of(recipe: str, overrides: list[str], until: str | None = None, slot: str | None = None) -> dict[str, Any]:
    """What :func:`finetune` returns, and for a run that Prefect calls Failed, the same shape instead of an error."""
    try:
        return finetune(recipe=recipe, overrides=overrides, until=until, slot=slot)
    except endings.UnsuccessfulRunError as end:
        return end.result


def tell(run: Run, until: Stage | None) -> RunResult:
    """The stages in order, up to a trained candidate, which is then judged; ends early if a stage refuses."""
    if repeated := repeated_run(run, until):
        return repeated

    data = tasks.prepare_data(run)
    if until is Stage.DATA:
        run.ending = Ending(Status.FINISHED)
        return run.result()
    champion = steps.incumbent_of(run)
    kept = champion_policy(run, champion) if champion and run.recipe.policy.start == "champion" else None
    if until in JUDGING and (refusal := steps.refused_before_training(run, data, kept)):
        return refuse_to_train(run, refusal, champion, until)
    gold = tasks.validate_gold(run, data)
    if failed := gold_report(gold, run.recipe).failed:
        return end(run, Ending(Status.REWARD_REFUSED, failed_checks=failed))
    start = kept or tasks.warm_up(run, data)

    reward = tasks.validate_reward(run, data, start, gold)
    if not reward.report.passed:
        return end(run, Ending(Status.REWARD_REFUSED, failed_checks=reward.report.failed))
    if until is Stage.REWARD:
        return end(run, Ending(Status.FINISHED))

    candidate = tasks.train(run, data, start, reward)
    if not candidate.may_be_judged(run.recipe.gate.after_stop):
        return end(run, Ending(Status.STOPPED))
    if until is Stage.TRAIN:
        return end(run, Ending(Status.FINISHED))

    trained = FinishedStages(data, gold, start, reward, candidate)
    for _ in range(ROUNDS - 1):
        try:
            return judge(run, trained, champion, until)
        except StaleChampionError:
            say("the champion changed meanwhile; judging this challenger against the new one")
            champion = steps.incumbent_of(run)
    return judge(run, trained, champion, until)


def judge(run: Run, trained: FinishedStages, champion: Promotion | None, until: Stage | None) -> RunResult:
    """Evaluate the candidate and the incumbent, register the candidate, ask the gate, and act on the verdict.

    Raises:
        StaleChampionError: if another candidate became champion meanwhile.
    """
    data, start, candidate = trained.data, trained.start, trained.candidate
    models = Models(candidate, champion_policy(run, champion) if champion else start, start, trained.reward)
    verdict = verdict_of_this_run(run, models)
    if verdict is None and until in (None, Stage.GATE):
        if champion and models.kept_start and models.incumbent_is_start:
            return end(run, Ending(Status.UNCHANGED, previous=champion.version, reasons=[KEPT]))
        if unchanged := unchanged_candidate(run, data, models):
            return unchanged
    dev = tasks.evaluate(run, data, models)
    if until is Stage.EVALUATE:
        return end(run, Ending(Status.FINISHED))
    if until is Stage.PLAN:
        return plan(run, data, dev, models, champion is None)
    version = tasks.register(run, data, candidate)
    if verdict is None:
        verdict = tasks.gate(run, data, dev, models, champion is None)
    return carry_out(run, version, verdict, champion, until)


def carry_out(run: Run, version: str, verdict: Verdict, champion: Promotion | None, until: Stage | None) -> RunResult:
    """Promote if the verdict says so and, where the rules require it, a person approved."""
    previous, remark, promotes = champion.version if champion else None, None, until is None
    if verdict.outcome is Outcome.PROMOTE and promotes:
        remark = tasks.await_approval(run, verdict)
        if remark is None:
            previous = tasks.move_champion(run, version, verdict, champion.sequence if champion else 0)
    return end(run, steps.ending_of(verdict, promotes=promotes, previous=previous, remark=remark))


def plan(run: Run, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool) -> RunResult:
    """What the gate would do: fold, use, level, test and power."""
    return planned(run, steps.plan(run, data, dev, models, first_champion))


def planned(run: Run, found: Plan) -> RunResult:
    """The result of a dry run."""
    return replace(end(run, Ending(Status.FINISHED, reasons=found.said)), gate=found.as_json())


def refuse_to_train(run: Run, refusal: Plan, champion: Promotion | None, until: Stage | None) -> RunResult:
    """End a run whose candidate the gate could not judge, however good it were."""
    if until is Stage.PLAN:
        return planned(run, refusal)
    assert refusal.refusal is not None
    _, reason = refusal.refusal
    return end(run, Ending(Status.INVALID, previous=champion.version if champion else None, reasons=[reason], remark=reason))


def end(run: Run, ending: Ending) -> RunResult:
    """Publish the results, and close the run. A dry run publishes nothing."""
    run.ending = ending
    if not run.recorded:
        return run.result()
    result = run.result(tasks.publish(run))
    run.close(result)
    return result


def champion_policy(run: Run, champion: Promotion) -> PolicyStage:
    """The champion's policy, fetched once per run."""
    return steps.fetched(run, champion) or tasks.fetch_champion(run, champion)
