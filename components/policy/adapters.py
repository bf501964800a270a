"""Low-rank adapters (LoRA, arXiv:2106.09685), and the reference policy that they give without a second copy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import completion_log_probs
from ratchet.components.policy.packing import Group


@dataclass(frozen=True)
class Reference:
    """The policy from which divergence is measured: a separate model, or the trained one with its adapter disabled."""

    policy: Policy
    scope: Callable[[], AbstractContextManager[object]] = nullcontext
    together: Callable[[], AbstractContextManager[object]] = nullcontext  # around scopes; all ranks must enter it at once

    def completion_log_probs(self, groups: Sequence[Group]) -> list[float]:
        """Log-prob of each completion as a whole, in the order of the groups."""
        with self.scope():
            return completion_log_probs(self.policy, groups)


def kept_on_host(policy: Policy) -> Reference:
    """A reference that is seldom used: on the policy's device while it scores, in the host's memory otherwise."""
    device, model = policy.model.device, policy.model.to("cpu")

    @contextmanager
    def on_device() -> Iterator[None]:
        model.to(device)
        try:
            yield
        finally:
            model.to("cpu")

    return Reference(policy, on_device)


@dataclass(frozen=True)
class Adapter:
    """LoRA layers inside a policy's model: only they are trainable."""

    policy: Policy  # its model contains the layers
    peft: Any  # peft.PeftModel around that model

    def reference(self) -> Reference:
        """The policy without the adapter; no second copy of the weights is held."""
        return Reference(self.policy, self.peft.disable_adapter)

    def save(self, path: Path) -> None:
        """Write only the adapter, in peft's format, as safetensors."""
        # With "auto", peft asks the hub whether the base model's vocabulary has been resized.
        self.peft.save_pretrained(path, safe_serialization=True, save_embedding_layers=False)

    def merge(self) -> Policy:
        """The policy with the adapter merged into its weights and removed."""
        return replace(self.policy, model=self.peft.merge_and_unload())


def add_lora(policy: Policy, rank: int, alpha: int, seed: int) -> Adapter:
    """Add LoRA to every linear layer of the policy's model except its head, and freeze the rest.

    Raises:
        ModelError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("LoRA needs peft, which is not installed. Run: pip install 'ratchet-rl[lora]'.") from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Adapter(policy, get_peft_model(policy.model, config))
