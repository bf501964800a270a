"""Whether the ledger is unaltered. Its rows account for the gate's error budget: none may be missing."""

import json
from collections import defaultdict

import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.ledger.tables import gate_uses, verdicts
from ratchet.components.storage.digests import digest_of

WHOSE = ("fold_digest", "challenger", "incumbent", "rules")  # a use is counted once per combination


def check_ledger(ledger: Ledger, model: str) -> None:
    """Check promotions, uses of sealed folds and verdicts against each other and against their hashes.

    Raises:
        RegistryError: naming the first altered row; nothing is judged or promoted then.
    """
    ledger.history(model)
    with ledger.transaction() as connection:
        uses = connection.execute(sa.select(gate_uses).where(gate_uses.c.model == model)).mappings().all()
        reached = connection.execute(sa.select(verdicts).where(verdicts.c.model == model)).mappings().all()
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for use in uses:
        numbers[use["fold_digest"]].add(use["use"])
    for fold, counted in numbers.items():
        if counted != set(range(1, len(counted) + 1)):
            raise _altered(ledger, f"a use of the sealed fold {fold[:12]} is missing")
    known = {tuple(use[name] for name in WHOSE): use["alpha"] for use in uses}
    for verdict in reached:
        record = json.loads(verdict["record"])
        if digest_of(record) != verdict["digest"]:
            raise _altered(ledger, f"the verdict of run {verdict['run_id']} does not have its hash")
        # Only scored verdicts were counted. Their number is that of the epoch, which several versions of a fold may share.
        if not record.get("evidence"):
            continue
        whose = tuple(record[name] for name in WHOSE)
        if whose not in known:
            raise _altered(ledger, f"the use of a sealed fold that run {verdict['run_id']} counted is missing")
        if known[whose] not in (None, record["alpha"]):
            raise _altered(ledger, f"the use of a sealed fold that run {verdict['run_id']} counted has another level")


def _altered(ledger: Ledger, what: str) -> RegistryError:
    return RegistryError(f"{ledger.place} was altered: {what}. Restore the ledger from its backup.")
