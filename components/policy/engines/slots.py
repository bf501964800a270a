"""The engine with slots: continuous batching (Orca, Yu et al., OSDI 2022) in which a step over all slots is one CUDA graph.

Rows of completions enter and leave a fixed set of slots. A prompt without its last token is prefilled once, into the slots of
all its samples; every token of a completion, the first one too, then comes from the same decoding step at the same number of
rows. So a completion does not depend on what else is drawn, for a given number of slots; that depends on the number of rows,
and shrinks at points that depend on how the rows end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ratchet.components.policy.engines.decoder import Decoder, Drawing, SlotState
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSettings, check_room
from ratchet.components.policy.engines.execution import ON_CPU, EndFlags, Execution, Step, on_cuda
from ratchet.components.policy.engines.scheduler import Admission, Scheduler, buckets
from ratchet.components.policy.engines.shared_weights import SharedWeights
from ratchet.components.policy.engines.slot_attention import DECODE, PREFILL, Prefill, SlotCache, active, unread_mask
from ratchet.components.policy.loading import Policy, is_half
from ratchet.components.pretrained.context_length import context_tokens

COMPILED_FROM = 50_000_000  # parameters; compiling the layers of a smaller model costs more than it saves


@dataclass(frozen=True)
class Layout:
    """What stays on the device between calls."""

    cache: SlotCache
    state: SlotState
    end_flags: EndFlags

    def fits(self, slots: int, tokens: int, new_tokens: int) -> bool:
        """Whether there is room for so many slots and tokens, and for just so many new tokens in each slot."""
        return len(self.state.token) >= slots and self.cache.tokens >= tokens and self.state.draws.shape[1] == new_tokens


class SlotEngine:
    """Rollouts of one model. Slots and graphs persist between calls; :meth:`release` frees their memory."""

    def __init__(self, policy: Policy, execution: Execution | None = None, compiled: bool | None = None) -> None:
        """
        Args:
            execution: of the model's device, unless given.
            compiled: whether the layers and the sampler are compiled; by default on CUDA, for models of some size.

        Raises:
            ModelError: if the model's attention cannot be replaced, or needs features that slots lack.
        """
        model, self.device = policy.model, policy.model.device
        cuda = self.device.type == "cuda"
        self.half = is_half(self.device, policy.precision)
        self.execution = execution or (on_cuda(self.device) if cuda else ON_CPU)
        self.compiled = compiled if compiled is not None else cuda and model.num_parameters() >= COMPILED_FROM
        self.shared_weights = SharedWeights(model, self.half)
        self.prefill_model, self.decode_model = (self.shared_weights.clone(model, name) for name in (PREFILL, DECODE))
        if self.compiled:
            compile_layers(self.decode_model)
        self.steps: dict[Drawing, tuple[Decoder, Step]] = {}
        self.release()
        self._shapes, self._mask = SlotCache(1), unread_mask(self.device)
        with torch.inference_mode(), self._scope():
            self._prefill_pass([[0]], 1, Prefill(self._shapes, 1, torch.zeros(1, dtype=torch.long, device=self.device), 1))

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        """See :class:`ratchet.components.policy.engines.engine.RolloutEngine`.

        The nucleus of top-p is not recorded here: such settings need the plain engine.
        """
        assert not request.settings.cuts
        check_room(policy.model, request)
        if not request.prompts:
            return []
        with torch.inference_mode(), self._scope():
            self.shared_weights.refresh()
            rows = _Run(self, request).completions()
        k = request.settings.samples
        return [rows[i : i + k] for i in range(0, len(rows), k)]

    def release(self) -> None:
        """Free slots and graphs; the next call recreates them."""
        self.layout: Layout | None = None
        self.steps.clear()
        self._capture = self.execution.graphs()

    def slots_for(self, rows: int, stride: int, settings: SamplingSettings) -> int:
        """How many slots serve so many rows: a power of two where graphs are kept by size, as many as memory has room for."""
        wanted = 1 << (rows - 1).bit_length() if self.execution.captures else rows
        slots = min(settings.rows_at_once, wanted)
        while slots > settings.samples and slots * stride * self._shapes.bytes_per_token > self.execution.cache_bytes:
            slots //= 2
        return max(slots, settings.samples)

    def lay_out(self, slots: int, stride: int, new_tokens: int) -> Layout:
        """The present layout if it has room, else a new one; graphs of the old one are dropped."""
        old = self.layout
        if old is not None and old.fits(slots, slots * stride, new_tokens):
            return old
        self.release()
        state = SlotState.empty(slots, new_tokens, self.device)
        self.layout = Layout(self._shapes.resized(slots * stride), state, EndFlags(slots, self.device))
        return self.layout

    def step_of(self, drawing: Drawing) -> tuple[Decoder, Step]:
        """The decoder of the first slots and its step, captured at first use: with all slots done, a step changes nothing."""
        assert self.layout is not None
        if drawing not in self.steps:
            cache, state = self.layout.cache, self.layout.state
            flash = self.half and self.device.type == "cuda"
            decoder = Decoder(self.decode_model, cache, state, drawing, flash=flash, compiled=self.compiled)
            done = state.done.clone()
            state.done.fill_(True)  # before the capture, which runs the step: live slots would move on
            self.steps[drawing] = decoder, self._capture(decoder.step)
            state.done.copy_(done)
        return self.steps[drawing]

    def prefill(self, prompts: Sequence[Sequence[int]], admission: Admission, stride: int, samples: int) -> None:
        """Write the keys and values of the admitted prompts, without their last tokens, to their slots."""
        assert self.layout is not None
        if admission.width:
            slots = torch.tensor(admission.slots, device=self.device)
            heads = [list(prompts[prompt][:-1]) for prompt in admission.prompts]
            self._prefill_pass(heads, admission.width, Prefill(self.layout.cache, stride, slots, samples))

    def _prefill_pass(self, heads: list[list[int]], width: int, prefilling: Prefill) -> None:
        rows = len(heads) if self.execution.prefill_tokens is None else self.execution.prompts(width)
        padded = [head + [0] * (width - len(head)) for head in heads] + [[0] * width] * (rows - len(heads))
        tokens = torch.tensor(padded, device=self.device)
        context = context_tokens(self.prefill_model.config.get_text_config()) or width
        positions = torch.arange(width, device=self.device).clamp(max=context - 1).expand(rows, width)  # padding may go beyond
        with active(prefilling):
            self.prefill_model.base_model(input_ids=tokens, attention_mask=self._mask, position_ids=positions, use_cache=False)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """The precision of a call. On CUDA also: torch may write by index.

        Its deterministic way to do so sorts the indices. Ours are distinct, so that the quick way gives the same bits.
        """
        strict = torch.are_deterministic_algorithms_enabled()
        if self.device.type == "cuda":
            torch.use_deterministic_algorithms(False)
        try:
            # No cache of casts: a graph would keep reading those of the weights at its capture.
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
                yield
        finally:
            torch.use_deterministic_algorithms(strict)


def compile_layers(model: PreTrainedModel) -> None:
    """Compile each decoder layer around its attention, separately for each number of slots."""
    # Beyond its limit of shapes dynamo runs uncompiled without a word; a process may see a few buckets for each of a few calls.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.compile(dynamic=False)


class _Run:
    """One call: its scheduler, and what has been drawn, by row of the results."""

    def __init__(self, engine: SlotEngine, request: SamplingRequest) -> None:
        prompts, settings, execution = request.prompts, request.settings, engine.execution
        rows, limit = len(prompts) * settings.samples, settings.max_new_tokens
        # Without its last token: the first decoding step reads that one, and its logits predict the first new token.
        widths = [execution.width(len(prompt) - 1) for prompt in prompts]
        self.engine, self.prompts, self.settings, self.ends = engine, prompts, settings, request.ends
        self.draws = request.draws()
        self.stride = max(widths) + limit + 1  # the last one is scratch of a slot that is done
        slots = engine.slots_for(rows, self.stride, settings)
        self.layout = engine.lay_out(slots, self.stride, limit)
        self.layout.state.done.fill_(True)
        self.sizes = buckets(slots, execution.ratio, execution.least)
        self.drawings = {n: Drawing(n, self.stride, settings.temperature, tuple(request.ends)) for n in self.sizes}
        for size in self.sizes if execution.captures else ():  # the largest first: the smaller ones then fit into its memory
            engine.step_of(self.drawings[size])
        self.scheduler = Scheduler(widths, settings.samples, slots, mixed=execution.prefill_tokens is None)
        self.results = [x.new_zeros(rows, limit) for x in self._drawn()]
        self.counts = torch.zeros(rows, dtype=torch.long, device=engine.device)
        self.left = [0] * slots  # tokens that the row in each slot may still draw
        self.lengths = [0] * slots  # of the prompt and what was drawn, in each slot

    def _drawn(self) -> list[Tensor]:
        state = self.layout.state
        return [state.tokens, state.log_probs, state.entropies]

    def completions(self) -> list[Completion]:
        """Draw them all, in the order of the rows."""
        scheduler = self.scheduler
        while scheduler.live or scheduler.waiting:
            while scheduler.wants_prompts:
                self._admit()
            if not scheduler.waiting:
                self._shrink()
            self._advance()
        self._collect()
        columns = [x.tolist() for x in (*self.results, self.counts)]
        return [Completion(t[:n], p[:n], n > 0 and t[n - 1] in self.ends, e[:n]) for t, p, e, n in zip(*columns, strict=True)]

    def _admit(self) -> None:
        self._collect()
        execution, device, samples = self.engine.execution, self.engine.device, self.settings.samples
        admission = self.scheduler.admit(execution.prompts)
        self.engine.prefill(self.prompts, admission, self.stride, samples)
        owners = [prompt for prompt in admission.prompts for _ in range(samples)]
        token = torch.tensor([self.prompts[prompt][-1] for prompt in owners], device=device)
        lengths = [len(self.prompts[prompt]) - 1 for prompt in owners]
        draws = self.draws[admission.rows].to(device)
        self.layout.state.admit(
            torch.tensor(admission.slots, device=device), token, torch.tensor(lengths, device=device), draws
        )
        for slot, tokens in zip(admission.slots, lengths, strict=True):
            self.left[slot], self.lengths[slot] = self.settings.max_new_tokens, tokens

    def _shrink(self) -> None:
        """Move to the smallest bucket that fits the live rows."""
        live, slots = self.scheduler.live, len(self.scheduler.slots)
        size = min(n for n in self.sizes if n >= live)
        if size == slots:
            return
        self._collect()
        moves = self.scheduler.shrink(size)
        for source, target in moves:
            self.left[target], self.lengths[target] = self.left[source], self.lengths[source]
        if moves:
            sources, targets = (torch.tensor(x, device=self.engine.device) for x in zip(*moves, strict=True))
            self.layout.cache.move(self.stride, sources, targets)
            self.layout.state.move(sources, targets)

    def _advance(self) -> None:
        """Some steps, until it is time to see which rows have ended."""
        slots = self.scheduler.slots
        live = [slot for slot, row in enumerate(slots) if row is not None]
        count = min(self.engine.execution.read_every, max(self.left[slot] for slot in live))
        decoder, step = self.engine.step_of(self.drawings[len(slots)])
        for number in range(count):
            if not self.engine.execution.captures:
                decoder.reach = min(self.stride, max(self.lengths[slot] for slot in live) + number + 1)
            step()
        for slot in live:
            self.left[slot], self.lengths[slot] = self.left[slot] - count, self.lengths[slot] + count
        self.scheduler.end(self.layout.end_flags.read(decoder.state.done))

    def _collect(self) -> None:
        """Bring what ended rows have drawn from their slots to the results, before the slots are used again."""
        if not self.scheduler.ended:
            return
        slots, rows = (torch.tensor(x, device=self.engine.device) for x in zip(*self.scheduler.ended, strict=True))
        for result, drawn in zip(self.results, self._drawn(), strict=True):
            result[rows] = drawn[slots, :-1]  # the last column is scratch
        self.counts[rows] = self.layout.state.count[slots]
        self.scheduler.ended.clear()
