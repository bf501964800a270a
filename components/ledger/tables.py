"""The ledger's tables. Every row is written once, except the state of leases, claims, approvals, runs and slots."""

import sqlalchemy as sa

metadata = sa.MetaData()

settings_table = sa.Table(
    "settings", metadata, sa.Column("key", sa.String(80), primary_key=True), sa.Column("value", sa.String(256), nullable=False)
)
gate_uses = sa.Table(
    "gate_uses",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("fold_digest", sa.String(64), nullable=False),
    sa.Column("challenger", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(64), nullable=False),
    sa.Column("rules", sa.String(64), nullable=False),
    sa.Column("use", sa.Integer, nullable=False),  # of this version of the fold: without a gap, so that none can be removed
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("epoch_use", sa.Integer),  # of all versions that share its items; null in rows of schema 8
    sa.Column("alpha", sa.Float),  # its level; null in rows of schema 8
    sa.UniqueConstraint("model", "fold_digest", "use"),
    sa.UniqueConstraint("model", "fold_digest", "challenger", "incumbent", "rules"),
)
retired_folds = sa.Table(
    "retired_folds",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("fold_digest", sa.String(64), primary_key=True),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
fold_items = sa.Table(
    "fold_items",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("fold_digest", sa.String(64), primary_key=True),
    sa.Column("item_ids", sa.Text, nullable=False),
    # JSON of what they asked, by id; only of those that did not ask their id's prompt. Null in rows of schema 9.
    sa.Column("asked", sa.Text),
)
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("challenger", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(64), nullable=False),
    sa.Column("rules", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.UniqueConstraint("model", "challenger", "incumbent", "digest"),
)
promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("previous", sa.String(32)),
    sa.Column("weights", sa.String(64), nullable=False),  # the policy's digest; in rows of schema 3, that of its weights
    sa.Column("by", sa.String(16), nullable=False),
    sa.Column("verdict", sa.String(64)),  # null if a person decided
    sa.Column("reason", sa.Text),  # a person's
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),  # over the row and the digest of the previous row
    sa.Column("person", sa.String(80)),  # who decided; of the gate's, who approved; null in rows of schema 7
)
# The digests of policies that releases of schema 3, which knew a policy by its weights alone, promoted.
policies = sa.Table(
    "policies",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("weights", sa.String(64), primary_key=True),
    sa.Column("policy", sa.String(64), nullable=False),
)
# An intent is recorded before the alias is set in MLflow, and closed once the alias was read back.
alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("token", sa.Integer, nullable=False),  # only increases: an older one is rejected
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String(120), nullable=False),  # for people
    sa.Column("seconds", sa.Float, nullable=False),  # its length; a contender watches it for as long
)
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("run", sa.String(64), primary_key=True),  # the run's identity
    sa.Column("token", sa.Integer, nullable=False),  # only increases: an older one is rejected
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String(120), nullable=False),  # for people
    sa.Column("place", sa.String(32), nullable=False),  # identifies the holder's lock
    sa.Column("seconds", sa.Float, nullable=False),  # lifetime without a renewal
    sa.Column("renewals", sa.Integer, nullable=False),  # the holder increments it; a contender watches it
)
# A person's wish that a run stop, for the claim under which it runs: it does not concern a later one.
stops = sa.Table(
    "stops",
    metadata,
    sa.Column("run", sa.String(64), primary_key=True),  # the run's identity
    sa.Column("token", sa.Integer, nullable=False),  # of the claim
    sa.Column("by", sa.String(80), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("verdict", sa.String(64), primary_key=True),
    sa.Column("by", sa.String(80), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("identity", sa.String(64), nullable=False),  # several runs may have it; at most one of them is open
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started", sa.String(40), nullable=False),  # by the newest process
    sa.Column("finished", sa.String(40)),
    sa.Column("result", sa.Text),
    sa.Column("begun", sa.String(40)),  # by the first process, if another resumed the run
    sa.Column("roles", sa.Text),  # the recipe's, as JSON, if it has any
    sa.Column("sequence", sa.Integer, nullable=False),  # the order in which runs were begun or resumed
)
# So that a logical date is done once, and one that a killed process left can be continued.
slots = sa.Table(
    "slots",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("slot", sa.String(64), primary_key=True),  # the logical date
    sa.Column("recipe", sa.String(64), primary_key=True),  # the recipe's digest
    sa.Column("run", sa.String(64), nullable=False),  # the identity of the run that took it last
    sa.Column("flow_run", sa.String(64)),  # its id in Prefect
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),  # processes, not counting those after one that ended in order
    sa.Column("run_id", sa.String(64)),  # in MLflow, of the run that did it
    sa.Column("data", sa.String(64)),  # digest of the data that the run found, if its schedule depends on them
    sa.Column("rows", sa.Integer),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),  # the order in which they were taken last
)
# So that the flow run of a killed process can be ended in Prefect by a process that comes later.
flow_runs = sa.Table(
    "flow_runs",
    metadata,
    sa.Column("flow_run", sa.String(64), primary_key=True),  # its id in Prefect
    sa.Column("run", sa.String(64), nullable=False),  # the run's identity
    sa.Column("token", sa.Integer, nullable=False),  # of the claim under which it runs
)
