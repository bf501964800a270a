"""The section ``train``: a preset's name, and the orthogonal choices behind it."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ratchet.components.recipe.base import Count, Positive, Section, Share
from ratchet.components.recipe.presets import PRESETS, with_preset
from ratchet.components.recipe.sentinel import Sentinel
from ratchet.components.recipe.vllm import Vllm

Algorithm = Literal["ppo", "grpo", "dr_grpo", "dapo", "gspo", "rloo", "reinforce_pp", "cispo"]
Advantage = Literal["gae", "group_std", "group_mean", "leave_one_out", "batch", "group_mean_batch_std"]
Optimizer = Literal["adamw", "adamw_8bit"]
Call = Annotated[str, Field(pattern=r"^\d+\.\d+$")]  # step.number of a scoring pass or minibatch
COMPARES_A_GROUP = {"group_std", "group_mean", "leave_one_out", "group_mean_batch_std"}


class Loss(Section):
    """From advantages to a loss."""

    surrogate: Literal["clip", "cispo"] = "clip"  # PPO's clipped objective, or CISPO's clipped weights
    ratio: Literal["token", "sequence", "completion"] = "token"  # sequence: geometric mean (GSPO); completion: product (RLOO)
    clip_low: Annotated[float, Field(gt=0, le=1)] = 0.2  # the ratio is clipped at 1 - clip_low
    clip_high: Positive = 0.2  # the ratio is clipped at 1 + clip_high
    # A second bound, for negative advantages (arXiv:1912.09729); null: none.
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    normaliser: Literal["sequence_mean", "token_mean", "constant"] = "token_mean"  # over what the token losses are averaged
    correction: Literal["auto", "none", "truncated"] = "auto"  # importance weights; auto: for external engines
    correction_cap: Annotated[float, Field(ge=1)] = 2.0  # upper bound of an importance weight

    @model_validator(mode="after")
    def _possible(self) -> "Loss":
        if self.surrogate == "cispo" and self.ratio != "token":
            raise ValueError("CISPO weights single tokens; use loss.ratio=token with loss.surrogate=cispo")
        if self.surrogate == "cispo" and self.dual_clip is not None:
            raise ValueError("CISPO has no second clip; remove loss.dual_clip or use loss.surrogate=clip")
        if self.dual_clip is not None and self.dual_clip <= 1 + self.clip_high:
            raise ValueError(f"loss.dual_clip={self.dual_clip:g} must be above 1 + loss.clip_high={1 + self.clip_high:g}")
        return self


class Sampling(Section):
    """How completions are drawn in training, and how zero-variance groups and overlong completions are handled."""

    temperature: Positive = 1.0  # temperature of the samples in training
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # nucleus; 1 keeps every token
    refills: Annotated[int, Field(ge=0, le=100)] = 0  # dynamic sampling: rounds of new prompts for zero-variance groups
    overlong: Literal["keep", "mask", "penalty"] = "keep"  # completions truncated at policy.max_new_tokens
    overlong_buffer: Annotated[float, Field(gt=0, le=1)] = 0.2  # share of max_new_tokens in which the penalty grows
    engine: Literal["own", "vllm"] = "own"  # what draws completions; a vllm server does not promise the same bits twice
    vllm: Vllm | None = None  # where that server is

    @model_validator(mode="after")
    def _possible(self) -> "Sampling":
        if self.engine == "vllm" and self.vllm is None:
            raise ValueError("engine=vllm needs to know the server; write sampling.vllm with its url and folder")
        if self.engine == "vllm" and self.top_p < 1:
            raise ValueError(
                f"vLLM does not return the tokens that top_p={self.top_p:g} kept, and the loss needs them; use sampling.top_p=1"
            )
        return self

    @property
    def sleeps(self) -> bool:
        """Whether a server frees the GPU's memory between rollouts."""
        return self.engine == "vllm" and self.vllm is not None and self.vllm.sleep

    @model_serializer(mode="wrap")
    def _older_digests_stay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The engine is left out while it is our own, so that recipes without one are the same as before there was a choice."""
        values: dict[str, Any] = handler(self)
        if self.engine == "own":
            for name in ("engine", "vllm"):
                values.pop(name, None)  # a dump of some keys may not have it
        return values


class Critic(Section):
    """PPO's critic; unused without GAE."""

    trunk: Literal["own", "shared"] = "own"  # own: a model of its own; shared: a value head on the policy
    sees: Literal["tokens", "likelihood"] = "tokens"  # likelihood: the head also sees the prefix's likelihood under the policy
    lr: Positive = 1e-3  # learning rate of a separate critic; a shared one learns at train.lr
    coefficient: Positive = 0.1  # weight of the value loss relative to the policy's, with a shared trunk
    warmup_steps: Annotated[int, Field(ge=0)] = 10  # steps in which only the critic learns
    value_clip: Positive | None = 0.2  # how far a value may move per update before its loss is clipped; null: no clipping
    minibatches: Count | None = None  # optimiser steps per pass of a separate critic, if not the policy's


class Lora(Section):
    """Low-rank adapters (arXiv:2106.09685) on every linear layer except the head."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16  # rank of the two factors
    alpha: Count = 32  # the adapter is scaled by alpha / rank


class Train(Section):
    """The RL loop. The preset sets what the recipe does not."""

    algorithm: Algorithm = "grpo"  # the preset (docs/algorithms.md)
    steps: Count = 120  # rounds of rollouts and updates
    prompts: Count = 32  # prompts per step
    k: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 8  # samples per prompt; auto: as the reward's pilot advises
    lr: Positive = 3e-4  # peak learning rate
    lr_warmup: Annotated[int, Field(ge=0)] = 0  # steps below lr, in which the learning rate rises linearly
    lr_final: Share = 0.1  # share of lr at which the linear decay stops
    advantage: Advantage = "group_std"  # how rewards become advantages
    gamma: Share = 1.0  # discount factor, for gae and batch
    gae_lambda: Share = 0.95  # lambda of GAE, for the policy
    value_lambda: Share | None = None  # lambda of the critic's targets, if not the policy's (VAPO)
    whiten: bool = True  # whiten GAE's advantages, over the batch
    loss: Loss = Loss()
    kl: Literal["none", "reward", "loss"] = "none"  # where a penalty for distance from the starting policy is applied
    kl_estimator: Literal["k2", "k3"] = "k2"  # the estimator in the loss; the reward uses k1
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.02  # its weight
    kl_target: Positive | None = None  # nats per completion: the coefficient adapts towards it
    kl_horizon: Count = 10_000  # completions
    sampling: Sampling = Sampling()
    critic: Critic = Critic()
    epochs: Count = 1  # passes over each batch of rollouts, as PPO calls them; not over the dataset
    minibatches: Count = 1  # optimiser steps per pass
    micro_tokens: Count | Literal["auto"] = 16_384  # packed tokens per forward pass; auto: as many as the estimate allows
    smaller: dict[Call, Count] = Field(default_factory=dict)  # micro_tokens from there on, in a rebuilt run
    optimizer: Optimizer = "adamw"  # adamw_8bit: its moments take a quarter of the memory; needs the extra adamw-8bit
    max_grad_norm: Positive = 1.0  # gradients are scaled down to this norm
    lora: Lora | None = None  # trains an adapter in place of all weights
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # precision of the forward pass, over fp32 weights; auto: bf16 on CUDA
    deterministic: bool = True  # on CUDA: the same bits every time; false allows kernels that sum in any order
    gradient_checkpointing: bool | Literal["auto"] = False  # auto: only if nothing else fits according to the estimate
    offload: bool | Literal["auto"] = False  # checkpoints wait in the host's memory
    evaluate_every: Count = 20  # steps between dev evaluations, each of which commits a checkpoint
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3  # the newest ones; the best is kept in addition
    sentinel: Sentinel = Sentinel()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and (algorithm := values.get("algorithm", "grpo")) in PRESETS:
            return with_preset(algorithm, values)
        return values

    @model_validator(mode="after")
    def _possible(self) -> "Train":
        for impossible, reason in self._impossibilities():
            if impossible:
                raise ValueError(reason)
        return self

    @model_serializer(mode="wrap")
    def _older_digests_stay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The optimiser is left out while it is AdamW: recipes without one are the same as before there was a choice."""
        values: dict[str, Any] = handler(self)
        if self.optimizer == "adamw":
            values.pop("optimizer", None)
        return values

    def _impossibilities(self) -> list[tuple[bool, str]]:
        grouped = self.advantage in COMPARES_A_GROUP
        advantage, loss = f"train.advantage={self.advantage}", self.loss
        return [
            (
                self.critic.sees == "likelihood" and self.critic.trunk == "shared",
                "train.critic.sees=likelihood needs a separate critic; use critic.trunk=own, or critic.sees=tokens",
            ),
            (
                self.critic.minibatches is not None and self.critic.trunk == "shared",
                "a shared critic learns in the policy's minibatches; use critic.trunk=own, or critic.minibatches=null",
            ),
            (
                self.has_critic and self.prompts % (self.critic.minibatches or 1) != 0,
                f"train.prompts={self.prompts} is not divisible by train.critic.minibatches={self.critic.minibatches}; "
                "change one of them",
            ),
            (
                grouped and self.k == 1,
                f"train.k=1 leaves {advantage} nothing to compare; use k >= 2, or train.algorithm=ppo or reinforce_pp",
            ),
            (
                self.prompts % self.minibatches != 0,
                f"train.prompts={self.prompts} is not divisible by train.minibatches={self.minibatches}; change one of them",
            ),
            (
                not grouped and loss.ratio != "token",
                f"{advantage} differs from token to token; use loss.ratio=token",
            ),
            (
                not grouped and self.sampling.refills > 0,
                f"{advantage} learns from groups with equal rewards; dynamic sampling would discard them. "
                "Set sampling.refills=0",
            ),
            (
                self.kl == "none" and self.kl_target is not None,
                "train.kl_target adapts a KL term that train.kl=none disables; set train.kl, or kl_target=null",
            ),
            (
                self.kl_target is not None and self.kl_coefficient == 0,
                "a coefficient that starts at 0 cannot adapt; set train.kl_coefficient above 0, or kl_target=null",
            ),
            (
                self.offload is True and self.gradient_checkpointing is False,
                "train.offload moves activation checkpoints; set train.gradient_checkpointing, or offload=false",
            ),
            (
                self.lora is not None and self.sampling.sleeps,
                "vLLM loses an adapter's memory when it sleeps; set sampling.vllm.sleep=false, or train.lora=null",
            ),
            (
                self.value_lambda is not None and self.advantage != "gae",
                f"train.value_lambda is for a critic, and {advantage} has none; use train.advantage=gae, or value_lambda=null",
            ),
        ]

    @property
    def group_size(self) -> int:
        assert isinstance(self.k, int), "train.k: auto was not resolved"
        return self.k

    @property
    def tokens_at_once(self) -> int:
        """Packed tokens per forward pass."""
        assert isinstance(self.micro_tokens, int), "train.micro_tokens: auto was not resolved"
        return self.micro_tokens

    @property
    def updates(self) -> int:
        """Optimiser steps on each batch of rollouts."""
        return self.epochs * self.minibatches

    @property
    def has_critic(self) -> bool:
        return self.advantage == "gae"

    @property
    def needs_reference(self) -> bool:
        """Whether the loss or the reward has a KL term."""
        return self.kl != "none"

    @property
    def measures_divergence(self) -> bool:
        """Whether the distance from the starting policy is used: in a KL term, or by the sentinel on dev."""
        return self.needs_reference or self.sentinel.kl is not None
