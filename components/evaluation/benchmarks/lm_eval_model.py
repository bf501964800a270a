"""The policy as a model of lm-eval. The only modules that import lm_eval are this one and lm_eval_tasks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ratchet.components.errors import ModelError
from ratchet.components.evaluation.benchmarks.answers import Answer, Decoding, Respondent, context_of, require_room
from ratchet.components.policy.log_probs import completion_scores
from ratchet.components.policy.packing import Group

KNOWN = {"until", "do_sample", "temperature", "top_p", "max_gen_toks"}


class PolicyLM(LM):  # type: ignore[misc]
    """Contexts go into the policy's own template as one user message; what is scored begins its answer.

    Attributes:
        answers: context -> what was generated, in the order in which it was asked for.
    """

    def __init__(self, respondent: Respondent, max_new_tokens: int) -> None:
        super().__init__()
        self._respondent, self._policy = respondent, respondent.policy
        self._max_new_tokens = max_new_tokens  # where a task does not say
        self.answers: dict[str, list[Answer]] = defaultdict(list)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Texts up to the first of ``until``, decoded as each request says (greedily, unless it samples)."""
        decodings = [self._decoding(request.args[1]) for request in requests]
        texts: dict[int, str] = {}
        for decoding in dict.fromkeys(decodings):
            chosen = [number for number, own in enumerate(decodings) if own == decoding]
            contexts = [str(requests[number].args[0]) for number in chosen]
            answers = self._respondent.answer([[_user(context)] for context in contexts], decoding)
            for number, context, answer in zip(chosen, contexts, answers, strict=True):
                self.answers[context].append(answer)
                texts[number] = answer.text
        return [texts[number] for number in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-prob of the continuation in nats, whether it is what greedy decoding says) of (context, continuation)."""
        return completion_scores(self._policy, [self._group(*request.args[:2]) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-prob of whole raw texts in nats, in windows of the context, from end-of-sequence on; no template."""
        totals = []
        for request in requests:
            tokens = self._raw(str(request.args[0]))
            limit = context_of(self._policy) or len(tokens) + 1
            # The library's windows are of the predicted tokens, one less than what a window holds of them and their context.
            windows = get_rolling_token_windows(tokens, self._policy.end_of_sequence, limit - 1, 1)
            groups = [Group(context, [target]) for context, target in map(make_disjoint_window, windows)]
            totals.append(sum(score for score, _ in completion_scores(self._policy, groups)))
        return totals

    def _decoding(self, options: Mapping[str, Any]) -> Decoding:
        wanted = normalize_gen_kwargs(dict(options), self._max_new_tokens)
        unknown = sorted(set(wanted) - KNOWN)
        if unknown:
            raise ModelError(f"generation_kwargs has {unknown[0]}, which this policy cannot do. Take it out of the task.")
        stops, sampled = wanted["until"], wanted["do_sample"]
        return Decoding(
            temperature=float(wanted.get("temperature", 1.0)) if sampled else 0.0,
            max_new_tokens=int(wanted["max_gen_toks"]),
            top_p=float(wanted.get("top_p", 1.0)) if sampled else 1.0,
            stops=tuple([stops] if isinstance(stops, str) else stops),
        )

    def _group(self, context: str, continuation: str) -> Group:
        if not context.strip():
            prompt, rest = [self._policy.end_of_sequence], self._raw(context + continuation)
        elif self._policy.tokenizer.chat_template:
            # The template ends the turn, so that the delimiter before the continuation has nothing to separate.
            prompt, rest = self._policy.encode_prompt(context), self._raw(continuation.lstrip())
        else:
            kept = context.rstrip()  # a space belongs to the word after it, in lm-eval's own models too
            prompt = self._policy.encode_prompt(kept)
            rest = self._policy.encode_prompt(kept + context[len(kept) :] + continuation)[len(prompt) :]
        if not prompt or not rest:
            raise ModelError(f"an item of the task has nothing to score after {context[-40:]!r}. Correct its choices.")
        require_room(self._policy, len(prompt), len(rest))
        return Group(prompt, [rest])

    def _raw(self, text: str) -> list[int]:
        return list(self._policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
