"""What an update costs on this machine, piece by piece, and whether two runs of one seed give the same bits.

Usage: ``python -m benchmarks.update [SECTION ...]``; sections: step, same_seed, pieces, profile (all without any).

A random model of Qwen2.5-0.5B's shape on CUDA, a tiny one on a CPU; groups of 8 completions of 256 tokens behind prompts of
128. One JSON object per line; a section that fails prints its traceback and the next one begins.
"""

import argparse
import gc
import hashlib
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ratchet.components.graders.protocol import Grade
from ratchet.components.policy import compilation
from ratchet.components.policy.compilation import compiled_layers
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import Completion, SamplingRequest
from ratchet.components.policy.loading import Policy, pick_device
from ratchet.components.policy.log_probs import hidden_states, score_tokens, target_log_probs
from ratchet.components.policy.logits import LogitTransform
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.varlen_attention import serves
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.sentinel import dev_result
from ratchet.components.training.setting import RewardedPrompts, Setting, Storage

VOCABULARY, EOS = 151_936, "<eos>"
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
LARGE = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}


class Case:
    """The shape that fits this machine."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.large = device, device.type == "cuda"
        self.vocabulary = VOCABULARY if self.large else 2_000
        self.k, self.prompt, self.new, self.groups = (8, 128, 256, 8) if self.large else (4, 16, 16, 4)

    def policy(self) -> Policy:
        """A new model with random weights, the same each time."""
        shape = {**(LARGE if self.large else TINY), "vocab_size": self.vocabulary, "num_key_value_heads": 2}
        config = Qwen2Config(
            **shape, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=self.vocabulary - 293
        )
        torch.manual_seed(0)
        with self.device:
            model = Qwen2ForCausalLM(config)
        return Policy(model.eval(), tokenizer(self.vocabulary - 293))

    def random_groups(self) -> list[Group]:
        draws = torch.Generator().manual_seed(3)

        def some(count: int) -> list[int]:
            found: list[int] = torch.randint(0, self.vocabulary - 1000, (count,), generator=draws).tolist()
            return found

        return [Group(some(self.prompt), [some(self.new) for _ in range(self.k)]) for _ in range(self.groups)]


def tokenizer(end: int) -> PreTrainedTokenizerFast:
    """One token per word, w0 to w151642 on CUDA; no completion ends by itself but by chance."""
    words = Tokenizer(models.WordLevel({**{f"w{i}": i for i in range(end)}, EOS: end}, unk_token="w0"))  # noqa: S106  # no password
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=EOS, pad_token=EOS, chat_template=template)


def show(**values: Any) -> None:
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}), flush=True)


def settled(device: torch.device) -> float:
    """The time when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def timed(what: str, device: torch.device, call: Callable[[], None], repeats: int = 3) -> None:
    """Seconds of the first call and the median of the later ones; the peak of these."""
    try:
        free(device)
        started = settled(device)
        call()
        first = settled(device) - started
        free(device)
        seconds = []
        for _ in range(repeats):
            started = settled(device)
            call()
            seconds.append(settled(device) - started)
        show(section="pieces", what=what, seconds=statistics.median(seconds), first=first, peak_gib=peak(device))
    except Exception as error:
        show(section="pieces", what=what, error=repr(error)[:300])
        traceback.print_exc(limit=-6)


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def pieces(case: Case) -> None:
    """Forward and backward of the same groups: mask or sequences, compiled or not, deterministic or not; the head alone."""
    policy, groups = case.policy(), case.random_groups()
    model, device = policy.model, case.device
    dense, flat = pack(groups).to(device), pack_flat(groups, 64).to(device)
    show(section="pieces", tokens=sum(g.tokens for g in groups), targets=len(flat.targets), serves=serves(model))
    with torch.no_grad(), policy.autocast():
        found = {name: in_order(rows, score_tokens(model, rows)) for name, rows in (("dense", dense), ("flat", flat))}
    show(section="pieces", what="flat against dense", mean=float((found["flat"] - found["dense"]).abs().mean()))

    def whole(rows: PackedRows, on: bool) -> Callable[[], None]:
        def call() -> None:
            with deterministic(on), policy.autocast():
                loss = score_tokens(model, rows).sum()
                loss.backward()  # type: ignore[no-untyped-call]
            model.zero_grad()

        return call

    def trunk(rows: PackedRows) -> Callable[[], None]:
        def call() -> None:
            with policy.autocast():
                hidden_states(model.base_model, rows).float().sum().backward()
            model.zero_grad()

        return call

    for name, rows, compiled in (("flat", flat, True), ("flat", flat, False), ("dense", dense, False), ("dense", dense, True)):
        with compiled_layers(model) if compiled else nullcontext():
            for on in (True, False):
                timed(f"{name}, compiled {compiled}, deterministic {on}", device, whole(rows, on))
            timed(f"{name}, compiled {compiled}, trunk alone", device, trunk(rows))
    head, targets = model.get_output_embeddings(), flat.targets
    hidden = torch.randn(len(targets), head.weight.shape[1], device=device, requires_grad=True)
    for power in (26, 28, 29, 30):
        shape = LogitTransform(tile=2**power)

        def call(shape: LogitTransform = shape) -> None:
            with policy.autocast():
                target_log_probs(head, hidden, targets, shape).sum().backward()
            model.zero_grad()

        timed(f"head alone, tiles of 2**{power}", device, call)


def in_order(rows: PackedRows, scores: Tensor) -> Tensor:
    """Scores by completion and token."""
    order = torch.argsort(rows.sequence * 2**16 + rows.index)
    return scores[order].float()


def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """A coin for each completion, from its text."""
    return [Grade(float(hashlib.sha256(text.encode()).digest()[0] % 2), {}) for text in completions]


def engine(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
    """The plain engine. Its cumulative sums are over rows, which CUDA adds up in one order, though torch cannot tell."""
    with deterministic(False):
        return generate(policy, request)


def trainer_of(case: Case, prompts: int, new_tokens: int, **train: Any) -> Trainer:
    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(0, case.vocabulary - 1000, (256, case.prompt), generator=draws).tolist()
    rows = [{"id": str(i), "prompt": " ".join(f"w{t}" for t in row), "answer": "1"} for i, row in enumerate(ids)]
    recipe = Train(
        kl="none", steps=1000, prompts=prompts, k=case.k, lr=1e-5, evaluate_every=1000, sentinel={"looks": []}, **train
    )
    setting = Setting(
        train=recipe,
        seed=7,
        task=RewardedPrompts(rows, new_tokens, reward, gold=reward),  # nothing to grade twice
        evaluate=lambda policy: dev_result({"eval_sampled_accuracy": 0.5}, gold=[0.0, 1.0], proxy=[0.0, 1.0]),
        storage=Storage(Path(tempfile.mkdtemp())),
        engine=engine,
    )
    return Trainer(Actor(case.policy(), recipe, 7), None, setting)


def steps_of(trainer: Trainer, count: int) -> Iterator[Mapping[str, float]]:
    """The figures of the first steps."""
    for event in trainer.run():
        if isinstance(event, StepMetrics) and "step_time" in event.values:
            yield event.values
            count -= 1
            if not count:
                return


def step(case: Case) -> None:
    """Whole GRPO steps through the trainer: the phases, and what lies in none of them."""
    for micro_tokens, count, recomputed in ((8_192, 4, True), (12_288, 4, True), (16_384, 4, True)):
        free(case.device)
        if recomputed != compilation.RECOMPUTED:
            torch._dynamo.reset()  # else the code that was compiled before serves
        compilation.RECOMPUTED = recomputed
        trainer = trainer_of(case, 64 if case.large else 4, case.new, algorithm="grpo", micro_tokens=micro_tokens)
        for number, values in enumerate(steps_of(trainer, count)):
            phases = {name: value for name, value in values.items() if name.startswith("time/")}
            rest = values["step_time"] - sum(phases.values())
            shown = {name: values[name] for name in ("step_time", "num_tokens", "grad_norm", "approx_kl") if name in values}
            show(section="step", micro_tokens=micro_tokens, number=number, **shown, **phases, in_no_phase=rest)
        held = torch.cuda.memory_allocated() / 2**30 if case.large else 0.0
        show(section="step", micro_tokens=micro_tokens, recomputed=recomputed, peak_gib=peak(case.device), held_gib=held)
        del trainer
    compilation.RECOMPUTED = True


def digest(module: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for _, tensor in sorted(module.state_dict().items()):
        found.update(tensor.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def same_seed(case: Case) -> None:
    """Digests of all weights after each of three steps, twice."""
    for algorithm in ("grpo", "ppo"):
        runs = []
        for _ in range(2):
            free(case.device)
            trainer = trainer_of(case, 16 if case.large else 4, 32, algorithm=algorithm, critic={"warmup_steps": 1})
            modules = [module for module, _ in trainer.modules.values()]
            runs.append([[digest(module) for module in modules] for _ in steps_of(trainer, 3)])
            del trainer, modules
            show(section="same_seed", algorithm=algorithm, digests=runs[-1])
        show(section="same_seed", algorithm=algorithm, equal=runs[0] == runs[1])


def profile(case: Case) -> None:
    """Where a forward and backward pass of 8,192 tokens spends its time: on the host, and on the device."""
    policy, device = case.policy(), case.device
    rows = pack_flat(case.random_groups()[: case.groups // 2], 64).to(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if case.large else [])]

    def call() -> None:
        with policy.autocast():
            score_tokens(policy.model, rows).sum().backward()  # type: ignore[no-untyped-call]

    with compiled_layers(policy.model):
        timed("the pass that is profiled", device, call, 5)
        started = time.monotonic()
        call()
        queued, whole = time.monotonic() - started, settled(device) - started
        show(section="profile", queued=queued, whole=whole)
        with profiler(activities=activities) as found:
            call()
            settled(device)
    for key in ("self_cpu_time_total", *(["self_device_time_total"] if case.large else [])):
        print(found.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60), flush=True)


SECTIONS = {"step": step, "same_seed": same_seed, "pieces": pieces, "profile": profile}


def main() -> None:
    """Run the sections, each by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=[])
    chosen = parser.parse_args().sections or list(SECTIONS)
    case = Case(pick_device("auto"))
    show(torch=torch.__version__, device=torch.cuda.get_device_name() if case.large else "cpu")
    for name in chosen:
        started = time.monotonic()
        try:
            SECTIONS[name](case)
        except Exception:
            traceback.print_exc()
        show(section=name, took=time.monotonic() - started)
        free(case.device)


if __name__ == "__main__":
    main()
