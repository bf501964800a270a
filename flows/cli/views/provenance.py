"""Views of lineage, verification and reproduction."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.tree import Tree

from ratchet.components.text import visible
from ratchet.flows.cli.views.terminal import Rows, make_console

if TYPE_CHECKING:
    from ratchet.components.inspection.doctor import Finding
    from ratchet.components.provenance.ancestry import Ancestor
    from ratchet.components.provenance.lineage import Lineage
    from ratchet.components.stages.environment import Environment

WIDTH = 120  # a whole sha256 fits, three versions deep
STATES = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
COLOURS = {"ok": "green", "differs": "bold red", "not reachable": "yellow"}


def print_ancestry(model: str, versions: "list[Ancestor]") -> None:
    """A tree, as wide as its digests need."""
    console = make_console()
    console.width = max(console.width, WIDTH)
    console.print(tree_of(model, versions), highlight=False)


def tree_of(model: str, versions: "list[Ancestor]") -> Tree:
    """Each version's parts, and below its starting policy the version it came from."""
    root: Tree | None = None
    place: Tree | None = None
    for version in versions:
        verdict = version.tags.get("verdict", "unknown")
        title = f"[bold]{escape(model)} version {version.version}[/]  {escape(verdict)}"
        branch = Tree(title) if place is None else place.add(title)
        root = root or branch
        if version.lineage is None:
            branch.add(escape(version.problem or "no record"))
            break
        for name, text in parts(version.lineage):
            branch.add(f"{name:<9} {escape(text)}")
        place = branch.add("[dim]started from[/]")
        if version.lineage.policy.version is None:
            place.add(escape(beginning(version.lineage)))
    assert root is not None
    return root


def parts(record: "Lineage") -> list[tuple[str, str]]:
    """What a version was made from, one line per part."""
    code = record.code
    state = "as committed" if code.diff_sha256 is None else f"with {len(code.changed)} uncommitted files"
    lock = f"{record.lock_sha256[:12]}" if record.lock_sha256 else "none"
    if record.off_lock:
        lock += f", not followed by {', '.join(record.off_lock)}"
    return [
        ("weights", f"{record.weights_sha256}{f', {record.checkpoint}' if record.checkpoint else ''}"),
        ("policy", record.policy_sha256 or "not recorded: an earlier release made it"),
        ("code", f"{code.commit[:12]} {state}" if code.commit != "unknown" else "unknown"),
        ("recipe", f"{record.recipe_digest[:12]}, seed {record.seed}"),
        ("dataset", record.dataset.md5),
        ("lock", lock),
        ("machine", record.machine.text()),
        ("libraries", libraries_text(record.libraries)),
        ("gold", record.gold[:12] if record.gold else "not recorded: an earlier release made it"),
        ("reward", f"{record.reward.kind} {record.reward.stage_sha256[:12]}"),
        ("stages", ", ".join(f"{stage.name} {stage.key[:8]}" for stage in record.stages)),
        *((stage.name, f"made elsewhere: {made_in_text(stage.made_in)}") for stage in record.stages if stage.made_in),
        *([("engine", f"{record.engine}: not reproducible bit for bit")] if record.engine else []),
    ]


def made_in_text(place: "Environment") -> str:
    """The machine and the libraries of a stage that was not made where the version was trained."""
    return f"{place.machine.text()}; {libraries_text(place.libraries)}"


def libraries_text(libraries: Mapping[str, str]) -> str:
    """Those that a person asks for first."""
    return ", ".join(f"{name} {libraries[name]}" for name in ("python", "torch", "transformers") if name in libraries)


def beginning(record: "Lineage") -> str:
    """The first policy of an ancestry."""
    policy = record.policy
    what = f"existing model {policy.source}" if policy.kind == "model" else "policy warmed up on the dataset"
    if policy.base_sha256 is not None:
        what += f" {policy.base_sha256[:12]}, fine-tuned on {policy.demonstrations} demonstrations"
    return f"{what}, weights {policy.weights_sha256[:12]}"


def print_checks(rows: list[dict[str, str]]) -> None:
    """One line per recorded hash."""
    found = [(row["item"], f"[{COLOURS[row['state']]}]{row['state']}[/]", escape(row["detail"])) for row in rows]
    make_console().print(Rows([("[bold]item[/]", "[bold]state[/]", "[bold]detail[/]"), *found]))


def print_comparison(found: dict[str, Any]) -> None:
    """A rebuilt version compared with the recorded one."""
    same = "the same class of machine and libraries" if found["same_class"] else "another class of machine, or other libraries"
    if found["engine"]:
        same = f"figures alone: {found['engine']} drew the completions, and equal bits are not promised"
    rows = [
        ("match", f"[{'red' if found['match'] == 'differs' else 'green'}]{found['match']}[/], on {same}"),
        ("weights", f"recorded {found['weights']['recorded']}"),
        ("", f"made     {found['weights']['made']}"),
    ]
    if found["policy"]["recorded"] is not None:
        rows.append(("policy", f"recorded {found['policy']['recorded']}"))
        rows.append(("", f"made     {found['policy']['made']}"))
    for stage in found["stages"]:
        rows.append((f"stage {stage['name']}", "equal" if stage["equal"] else f"differs: {', '.join(stage['files'][:5])}"))
    if found["first_difference"]:
        rows.append(("first difference", f"stage {found['first_difference']['name']}"))
    if not found["same_class"]:
        for name, value in found["metrics"].items():
            rows.append((name, "not known" if value is None else f"{value:+.3f} (tolerance {found['tolerance']:g})"))
    rows.append(("took", f"{found['seconds']} s"))
    make_console().print(Rows(rows))


def print_findings(findings: "Sequence[Finding]") -> None:
    """A line each; the remedy of what is not in order stands below it."""
    rows: list[tuple[str, str, str]] = []
    for one in findings:
        rows.append((STATES[one.state], escape(one.name), escape(visible(one.said))))
        if one.remedy:
            rows.append(("", "", f"[yellow]{escape(visible(one.remedy))}[/]"))
    make_console().print(Rows(rows), "")


def print_environment(machine: dict[str, Any], libraries: dict[str, str], lock: dict[str, Any]) -> None:
    """This machine and its libraries, each with the lock's version if that differs."""
    rows = [(name, escape(str("none" if value is None else value))) for name, value in machine.items()]
    for name, version in libraries.items():
        note = f"  [yellow]constraints.txt has {escape(lock['off_lock'][name])}[/]" if name in lock["off_lock"] else ""
        rows.append((name, f"{escape(version)}{note}"))
    rows.append(("constraints.txt", lock["sha256"] or "not in this directory"))
    make_console().print(Rows(rows))
