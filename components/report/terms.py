"""The terms that a reader of a report meets, with their definitions: those of docs/glossary.md, word for word."""

import re

from markupsafe import Markup

from ratchet.components.text import visible

TERMS = {
    "recipe": "One YAML file with the whole configuration of a run.",
    "run": "One pass through the pipeline: data, policy, reward, training, evaluation, gate, promotion. The same run started "
    "again resumes.",
    "stage": "One step of a run whose result is stored and reused.",
    "dataset version": "The prepared, split data, identified by DVC's md5.",
    "policy": "The language model that RL trains. The starting policy is the policy before training.",
    "grader": "A rule, model or function that scores a completion. A verifier is a grader that decides by a rule.",
    "reward": "The score that training maximises, from one or more graders. It may differ from the goal.",
    "gold": "The measure of the goal itself, by which checkpoints, the sentinel, evaluation and the gate judge: one of the "
    "graders.",
    "sentinel": "The rules that end RL training when it does harm, for example when the reward rises and gold falls.",
    "challenger": "The policy that a run trained and wants to promote.",
    "champion": "The version in production. The challenger is compared with the incumbent: the champion, or before there is "
    "one, the starting policy.",
    "sealed fold": "Reserved items that only the gate may use. A promotion, or the last use, retires the fold.",
    "verdict": "The gate's decision: PROMOTE, REJECT, UNDERPOWERED, INVALID or ERROR.",
    "ledger": "The database that records uses of sealed folds, verdicts and promotions, and so decides which version is "
    "champion.",
    "gate": "The tests that a challenger must pass, on examples that training never saw, before it may become champion.",
    "development split": "Examples that a run may look at while it trains, for example to choose a checkpoint, so that figures "
    "on them flatter the model a little.",
    "95% interval": "A range that is computed so that in 95 of 100 such measurements it contains the true value.",
    "p-value": "How probable a gain at least as large would be by chance if both models were equally good.",
    "KL": "How far the answers of a model have moved from those of another; 0 is not at all.",
    "entropy": "How undecided a model is about the next token; near 0 it always says the same.",
    "token": "A piece of text, often a short word, which a model reads or writes in one step.",
    "checkpoint": "A model as it was at one step of its training.",
    "mutation score": "The share of planted wrong answers that the gold counted as wrong.",
}
UNEXPLAINED = {"run", "stage"}  # where a text uses them by the way: they mean what everybody thinks
NAMES = "|".join(re.escape(term) for term in sorted(TERMS.keys() - UNEXPLAINED, key=len, reverse=True))
MARKED = re.compile(rf"`(?P<code>[^`\n]+)`|\b(?P<term>{NAMES})s?\b", re.IGNORECASE)
BY_NAME = {term.lower(): definition for term, definition in TERMS.items()}


class Explained:
    """Texts of one page, in which the first use of each term has its definition, shown on hover, focus and tap."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __call__(self, text: str) -> Markup:
        """The text made visible and escaped, with its terms marked, and what is between backticks as code."""
        text, said, end = visible(text), Markup(), 0
        for found in MARKED.finditer(text):
            said += Markup("{}{}").format(text[end : found.start()], self._marked(found))
            end = found.end()
        return said + Markup("{}").format(text[end:])

    def _marked(self, found: re.Match[str]) -> Markup:
        if found["code"] is not None:
            return Markup("<code>{}</code>").format(found["code"])
        name = found["term"].lower()
        if name in self.used:
            return Markup("{}").format(found[0])
        self.used.add(name)
        marked = Markup('<span class="term" tabindex="0" data-tip="{0}" aria-description="{0}">{1}</span>')
        return marked.format(BY_NAME[name], found[0])

    @property
    def definitions(self) -> list[tuple[str, str]]:
        """The terms that were marked so far, in the glossary's order."""
        return [(term, definition) for term, definition in TERMS.items() if term.lower() in self.used]
