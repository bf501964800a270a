"""Rollout engines measured: tokens per second, ends that come at random, the same bits, memory.

``python -m benchmarks.rollout`` prints one JSON object per line. On CUDA the model has the shape of Qwen2.5-0.5B, on a CPU that
of the quickstart; weights are random. A section that fails prints its traceback, and the others still run.
"""

import argparse
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.decoder import Drawing
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.slots import SlotEngine, compile_layers
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, pack
from ratchet.components.policy.parity import check_engine
from ratchet.components.policy.sampler import choose

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A model and a step of rollouts."""

    model: dict[str, int]
    prompts: int
    samples: int
    prompt: int  # tokens
    new: int  # tokens

    @property
    def settings(self) -> SamplingSettings:
        return SamplingSettings(self.samples, self.new, rows_at_once=1024)


def _qwen(vocabulary: int, width: int, mlp: int, layers: int, heads: int, groups: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
    }


HALF_BILLION = Shape(_qwen(151_936, 896, 4864, 24, 14, 2), 64, 8, 128, 256)
QUICKSTART = Shape(_qwen(768, 128, 384, 2, 4, 4), 16, 8, 32, 32)


def random_policy(shape: Shape, layers: int | None = None, ends: float = 0.0, precision: str = "auto") -> Policy:
    """A policy with random weights.

    Args:
        ends: probability of the end-of-sequence at every token, about; 0 for what random weights give.
    """
    sizes = shape.model | ({"num_hidden_layers": layers} if layers else {})
    end = shape.model["vocab_size"] - 1
    config = Qwen2Config(**sizes, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=end, bos_token_id=None)
    torch.manual_seed(0)
    with DEVICE:
        model = Qwen2ForCausalLM(config).eval()
        if ends:
            bias = torch.zeros(sizes["vocab_size"])
            bias[end] = torch.tensor(sizes["vocab_size"] * ends).log()
            model.lm_head.bias = torch.nn.Parameter(bias)
    return Policy(model, cast(PreTrainedTokenizerBase, SimpleNamespace(eos_token_id=end)), precision)


def prompts_of(shape: Shape, count: int | None = None) -> list[list[int]]:
    """Prompts of the shape's length, from a fixed seed."""
    size = count or shape.prompts, shape.prompt
    return torch.randint(0, shape.model["vocab_size"] - 1, size, generator=torch.Generator().manual_seed(1)).tolist()


def synchronise() -> None:
    """Wait for the device."""
    if CUDA:
        torch.cuda.synchronize()


def seconds(function: Callable[[], Any], times: int = 1) -> float:
    """Time of one call, the device's work included."""
    synchronise()
    start = time.perf_counter()
    for _ in range(times):
        function()
    synchronise()
    return (time.perf_counter() - start) / times


def flat(drawn: Sequence[Sequence[Completion]]) -> list[Completion]:
    """All completions, in order."""
    return [completion for group in drawn for completion in group]


def equal_bits(first: Sequence[Completion], second: Sequence[Completion]) -> int:
    """How many completions have the same tokens and log-probs to the last bit."""
    return sum(a.tokens == b.tokens and a.log_probs == b.log_probs for a, b in zip(first, second, strict=True))


def sampler(shape: Shape) -> Iterator[Row]:
    """The sampler by itself, against a cumulative distribution in fp64."""
    rows, vocabulary = 512 if CUDA else 64, shape.model["vocab_size"]
    generator = torch.Generator(DEVICE).manual_seed(0)
    logits = torch.randn(rows, vocabulary, device=DEVICE, generator=generator) * 2
    draws = torch.rand(rows, dtype=torch.float64, device=DEVICE, generator=generator)
    exact = logits.double().softmax(-1)
    cumulative = exact.cpu().cumsum(-1).to(DEVICE)
    expected = torch.searchsorted(cumulative, draws[:, None], right=True)[:, 0]
    for name, function in (("eager", choose), *([("compiled", torch.compile(choose, dynamic=False))] if CUDA else [])):
        first = seconds(lambda f=function: f(logits, draws, 1.0))
        choice = function(logits, draws, 1.0)
        log_probs = exact.gather(1, choice.tokens[:, None])[:, 0].log()
        yield {
            "sampler": name,
            "rows": rows,
            "first_s": first,
            "ms": 1000 * seconds(lambda f=function: f(logits, draws, 1.0), 20),
            "other_tokens": int((choice.tokens != expected).sum()),
            "log_prob_error": float((choice.log_probs - log_probs).abs().max()),
            "entropy_error": float((choice.entropies + torch.special.xlogy(exact, exact).sum(-1)).abs().max()),
        }
    for name, scale in (("flat", 1), ("peaked", 3)):
        yield {"sampler": f"top-p 0.9, {name}", "ms": 1000 * seconds(lambda s=scale: choose(logits * s, draws, 1.0, 0.9), 5)}


def probe(shape: Shape) -> Iterator[Row]:
    """Slots against the model's own forward pass, as at first use."""
    for layers in (2, None):
        policy = random_policy(shape, layers)
        yield {"probe": layers or "whole", "s": seconds(lambda p=policy: check_engine(p, slots=True))}


def exact(shape: Shape) -> Iterator[Row]:
    """Slots against the plain engine in fp32, with refills, ends and smaller buckets."""
    policy = random_policy(shape, layers=2, ends=0.02, precision="fp32")
    prompts = [prompt[: 5 + 7 * (i % 16)] for i, prompt in enumerate(prompts_of(shape, 24))]
    settings, seed = SamplingSettings(4, 24, rows_at_once=32), SamplingSeed(7, "exact")
    request = SamplingRequest(prompts, range(24), settings, seed, policy.ends)
    ours, theirs = flat(SlotEngine(policy)(policy, request)), flat(plain.generate(policy, request))
    draws = request.draws()
    pairs = list(zip(ours, theirs, strict=True))
    worst = [abs(p - q) for a, b in pairs if a.tokens == b.tokens for p, q in zip(a.log_probs, b.log_probs, strict=True)]
    edges = [
        _distance_from_edge(policy, prompts[row // 4], b.tokens[: _first_difference(a, b)], draws[row])
        for row, (a, b) in enumerate(pairs)
        if a.tokens != b.tokens
    ]
    row = {"exact": "fp32, slots against plain", "of": len(ours), "other_tokens": len(edges), "log_prob_difference": max(worst)}
    yield row | {"furthest_from_an_edge": max(edges, default=None)}


def _first_difference(one: Completion, other: Completion) -> int:
    return next(i for i, (a, b) in enumerate(zip(one.tokens, other.tokens, strict=False)) if a != b)


def _distance_from_edge(policy: Policy, prompt: list[int], tokens: list[int], draws: Tensor) -> float:
    """How far the draw after these tokens lies from the edge between two tokens."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt + tokens], device=DEVICE), logits_to_keep=1).logits[0, -1]
    edges = logits.double().softmax(-1).cpu().cumsum(-1)
    return float((edges - draws[len(tokens)]).abs().min())


def mismatch(shape: Shape) -> Iterator[Row]:
    """Log-probs of the engines against the packed scorer, in the policy's precision."""
    policy, prompts = random_policy(shape), prompts_of(shape, 16)
    for name, engine in (("slots", SlotEngine(policy, compiled=False)), ("plain", plain.generate)):
        settings = replace(shape.settings, max_new_tokens=64)
        drawn = engine(policy, SamplingRequest(prompts, range(16), settings, SamplingSeed(7, "mismatch"), policy.ends))
        rows = pack([Group(p, [c.tokens for c in g]) for p, g in zip(prompts, drawn, strict=True)]).to(DEVICE)
        with torch.no_grad(), policy.autocast():
            scored = score_tokens(policy.model, rows).float().cpu()
        own = torch.zeros(len(flat(drawn)), settings.max_new_tokens)
        for row, completion in enumerate(flat(drawn)):
            own[row, : len(completion.tokens)] = torch.tensor(completion.log_probs)
        difference = (own[rows.sequence.cpu(), rows.index.cpu()] - scored).abs()
        yield {"mismatch": name, "mean": float(difference.mean()), "max": float(difference.max())}


def whole(shape: Shape) -> Iterator[Row]:
    """A step's rollouts, from call to completions, none of which ends: both engines."""
    policy, prompts = random_policy(shape), prompts_of(shape)
    tokens, engine = shape.prompts * shape.samples * shape.new, SlotEngine(policy)

    def request(number: int) -> SamplingRequest:
        return SamplingRequest(prompts, range(len(prompts)), shape.settings, SamplingSeed(number, "whole"), ())

    def slots(number: int) -> None:
        engine(policy, request(number))

    def plainly(number: int) -> None:
        plain.generate(policy, request(number))

    for name, draw, times in (("slots", slots, 5), ("plain", plainly, 3)):
        before = torch.cuda.memory_allocated() / 2**30 if CUDA else 0.0
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        first, *later = [seconds(lambda d=draw, i=i: d(i)) for i in range(times)]
        memory = {"before_gib": before, "peak_gib": torch.cuda.max_memory_allocated() / 2**30} if CUDA else {}
        kept = {"kept_gib": torch.cuda.memory_allocated() / 2**30} if CUDA else {}
        best = statistics.median(later)
        yield {"whole": name, "first_s": first, "s": best, "tokens_per_second": tokens / best, **memory, **kept}
        if name == "slots":
            engine.release()
            yield {"whole": "slots, the call after a release", "s": seconds(lambda: slots(9))}
            engine.release()


def steps(shape: Shape) -> Iterator[Row]:
    """One step by slots, with the layers compiled in different ways."""
    policy, stride = random_policy(shape), shape.prompt + shape.new + 1
    ways: dict[str, Callable[[SlotEngine], None]] = {"nothing": lambda _: None}
    if CUDA:
        ways["sampler and layers"] = lambda engine: compile_layers(engine.decode_model)
    for way, prepare in ways.items():
        engine = SlotEngine(policy, compiled=False)
        prepare(engine)
        engine.compiled = way != "nothing"
        for slots in (1024, 512, 256, 128, 64) if CUDA else (128, 32):
            if CUDA and way == "nothing" and slots != 512:
                continue
            yield {"compiled": way, **_step_time(engine, slots, stride, shape)}
        torch._dynamo.reset()


def _step_time(engine: SlotEngine, slots: int, stride: int, shape: Shape) -> Row:
    with torch.inference_mode():
        layout = engine.lay_out(1024 if CUDA else 128, stride, shape.new)
        start = time.perf_counter()
        decoder, step = engine.step_of(Drawing(slots, stride, 1.0, ()))
        synchronise()
        capture = time.perf_counter() - start
        layout.state.length.fill_(shape.prompt + shape.new // 2)
        layout.state.count.fill_(0)
        layout.state.done.fill_(False)
        ms = 1000 * seconds(step, min(60, shape.new // 2))
        advanced = int(decoder.state.count[0])
        layout.state.done.fill_(True)
    return {"slots": slots, "capture_s": capture, "ms": ms, "tokens_per_second": 1000 * slots / ms, "advanced": advanced}


def ends(shape: Shape) -> Iterator[Row]:
    """Rollouts whose rows end at random: is one step much slower than the median?"""
    policy, prompts = random_policy(shape, ends=2 / shape.new), prompts_of(shape)
    for name, rows_at_once in (("all rows have slots", 1024), ("a quarter has", shape.prompts * shape.samples // 4)):
        engine, settings = SlotEngine(policy), replace(shape.settings, rows_at_once=rows_at_once)
        times, rates = [], []
        for number in range(12):
            drawn: list[list[list[Completion]]] = []
            request = SamplingRequest(prompts, range(len(prompts)), settings, SamplingSeed(number, "ends"), policy.ends)
            times.append(seconds(lambda e=engine, x=request, d=drawn: d.append(e(policy, x))))
            rates.append(sum(len(c.tokens) for c in flat(drawn[0])) / times[-1])
        later = times[1:]
        yield {
            "ends": name,
            "first_s": times[0],
            "median_s": statistics.median(later),
            "slowest_over_median": max(later) / statistics.median(later),
            "tokens_per_second": statistics.median(rates[1:]),
        }


def bits(shape: Shape) -> Iterator[Row]:
    """The same bits twice, in another process's order of calls, and with other rows beside."""
    torch.use_deterministic_algorithms(True)
    try:
        for share in (0.0, 4 / shape.new):
            policy, prompts = random_policy(shape, ends=share), prompts_of(shape)
            settings, count = replace(shape.settings, max_new_tokens=64), len(prompts)
            request = SamplingRequest(prompts, range(count), settings, SamplingSeed(7, "bits"), policy.ends)
            first = flat(SlotEngine(policy)(policy, request))
            engine = SlotEngine(policy)
            fewer = flat(engine(policy, request.only(range(count * 5 // 8))))  # of the same power of two
            second = flat(engine(policy, request))
            yield {
                "bits": "no ends" if share == 0 else "random ends, so that buckets shrink",
                "same_twice": equal_bits(first, second),
                "of": len(first),
                "same_beside_fewer": equal_bits(first[: len(fewer)], fewer),
                "of_those": len(fewer),
            }
    finally:
        torch.use_deterministic_algorithms(False)


SECTIONS = (probe, exact, mismatch, whole, ends, bits, sampler, steps)


def main() -> None:
    """Print the rows of each section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(s.__name__ for s in SECTIONS)}; all by default")
    wanted = parser.parse_args().sections
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in training; read when CUDA starts
    shape = HALF_BILLION if CUDA else QUICKSTART
    print(json.dumps({"device": torch.cuda.get_device_name() if CUDA else "cpu", "torch": torch.__version__}), flush=True)
    for section in SECTIONS:
        if not wanted or section.__name__ in wanted:
            start = time.perf_counter()
            try:
                for row in section(shape):
                    print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
            except Exception:
                traceback.print_exc()
            print(json.dumps({"section": section.__name__, "s": round(time.perf_counter() - start, 1)}), flush=True)
            if CUDA:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
