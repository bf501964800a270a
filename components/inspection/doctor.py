"""Whether what a run stands on is in order: machine, libraries, disk, ledger, servers, clock. Each finding has its remedy.

Servers are asked over HTTP with a short limit and without their clients, which would retry for minutes.
"""

import base64
import http.client
import importlib.util
import json
import os
import platform
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

from ratchet.components.code.machine import driver
from ratchet.components.data.dvc_config import default_remote
from ratchet.components.errors import RatchetError, RecipeError
from ratchet.components.inspection.disagreements import disagreements, promotions_cut_short
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.provenance.outlook import outlook
from ratchet.components.recipe import default_file, default_name, load_recipe
from ratchet.components.storage.disk import free_bytes
from ratchet.components.storage.home import Home
from ratchet.components.storage.sqlite_files import sqlite_file
from ratchet.components.text import redacted, visible

GIB = 2**30
LEAST_DISK = 1.0  # GiB; a run of a small model needs a hundredth of it, MLflow and DVC keep every version
SKEW = 5.0  # seconds by which a server's clock may differ
TIMEOUT = 5.0  # seconds for a server's answer
PLUGINS = {"s3": "dvc_s3", "gs": "dvc_gs", "azure": "dvc_azure", "ssh": "dvc_ssh"}  # scheme of a DVC remote -> its module


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at and what was found. ``remedy`` is empty if nothing is to be done."""

    name: str
    said: str
    remedy: str = ""
    warning: bool = False  # a run is possible as it is

    @property
    def ok(self) -> bool:
        """Whether nothing has to be done; a warning leaves the choice."""
        return not self.remedy or self.warning

    @property
    def state(self) -> str:
        return "problem" if not self.ok else "warning" if self.warning else "ok"


@dataclass(frozen=True)
class Answer:
    """What a server answered: status 0 if it did not."""

    status: int
    body: str
    date: str | None = None
    received: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def skew(self) -> float | None:
        """Seconds by which its clock is ahead of this one's, to a second; None if it sent no date."""
        try:
            theirs = parsedate_to_datetime(self.date or "")
        except ValueError:
            return None
        return (theirs.replace(tzinfo=UTC) - self.received).total_seconds() + 0.5  # HTTP's dates are in GMT


def examined(home: Home) -> list[Finding]:
    """Every finding, in an order in which an earlier one may explain a later one."""
    mlflow, prefect = ask_mlflow(home.tracking_uri), ask_prefect(os.environ)
    return [
        *_machine(),
        _reproduction(home.project),
        *_disks(home),
        _ledger(home),
        _mlflow(home.tracking_uri, mlflow),
        *_champions(home),
        *_shared_items(home),
        _prefect(os.environ, prefect),
        _remote(home),
        _clock({"MLflow": mlflow, "Prefect": prefect}),
    ]


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB of memory")
    yield Finding("versions", f"ratchet-rl {version('ratchet-rl')}, Python {platform.python_version()}")
    if importlib.util.find_spec("torch") is None:
        remedy = "To train: pip install 'ratchet-rl[train]'."
        yield Finding("torch", "not installed: recipes, rows and graders can be checked, nothing can be trained", remedy)
        return
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        gpu = f"{torch.cuda.get_device_name(0)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
        yield Finding("torch", f"{torch.__version__}; {gpu}; driver {driver() or 'unknown'}")
    elif driver() is not None:
        remedy = "Install a CUDA build of torch that this driver supports: https://pytorch.org/get-started/locally."
        yield Finding("torch", f"{torch.__version__} does not use the GPU of this machine, whose driver is {driver()}", remedy)
    else:
        yield Finding("torch", f"{torch.__version__}; no GPU: runs use the CPU")


def _reproduction(project: Path) -> Finding:
    """Whether ``ratchet reproduce`` could train again a version that is made now. A run is possible all the same."""
    file = default_file(project)
    try:
        recipe = load_recipe(file) if file is not None else None
    except RecipeError:  # which `check` explains
        recipe = None
    found = outlook(project, recipe)
    if found.reasons:
        said = f"a version made now could not be reproduced: {found.said} (docs/reproduction.md)"
        return Finding("reproduction", said, found.remedy, warning=True)
    return Finding("reproduction", "a version made now can be reproduced from its commit")


def _disks(home: Home) -> Iterator[Finding]:
    places = {"project": home.project, "state": home.state, "temporary files": Path(tempfile.gettempdir())}
    for name, place in places.items():
        free = free_bytes(place) / GIB
        remedy = "" if free >= LEAST_DISK else "Free space (`ratchet gc` says what is deleted), or move RATCHET_HOME or TMPDIR."
        yield Finding(f"disk: {name}", f"{free:,.1f} GiB free at {place}", remedy)


def _ledger(home: Home) -> Finding:
    file = sqlite_file(home.ledger) if home.ledger.startswith("sqlite") else None
    if file is not None and not file.exists():
        return Finding("ledger", f"{file} is made by the first run")
    try:
        ledger = Ledger(home.ledger)
    except RatchetError as error:
        return Finding("ledger", "cannot be used", str(error))
    return Finding("ledger", f"{ledger.place} answers")


def _champions(home: Home) -> list[Finding]:
    """Whether MLflow's aliases are where the ledger has its champions; nothing where one of the two does not answer."""
    try:
        ledger = Ledger.to_read(home.ledger)
    except RatchetError:
        return []  # the finding about the ledger has the remedy
    try:
        name = default_name(home.project)
        blocked = disagreements(home, ledger, [name] if name else [])
        short = promotions_cut_short(home, ledger) if blocked is not None else {}
    except RatchetError as error:
        return [Finding("champions", "cannot be looked up", str(error))]
    if blocked or short:
        found = [Finding("champions", f"nothing can be promoted as {model}", said) for model, said in (blocked or {}).items()]
        return [*found, *(Finding("champions", f"MLflow's alias of {model} is behind", said) for model, said in short.items())]
    return [] if blocked is None else [Finding("champions", "MLflow's aliases are those of the ledger")]


def _shared_items(home: Home) -> list[Finding]:
    """Models that were judged on the same sealed items. Nothing has to be done if that is meant: it may be a renamed recipe."""
    try:
        ledger = Ledger.to_read(home.ledger)
        items = {model: set().union(*ledger.items_of_folds(model).values()) for model in ledger.models()}
    except RatchetError:
        return []  # the finding about the ledger has the remedy
    sharing = sorted({model for pair in combinations(items, 2) if items[pair[0]] & items[pair[1]] for model in pair})
    said = f"{', '.join(sharing)} were judged on the same sealed items, each name with its own error budget (docs/gates.md)"
    return [Finding("sealed items", said)] if sharing else []


def ask_mlflow(uri: str) -> Answer | None:
    """The answer to a request that needs the login; None if MLflow is a local database."""
    if not uri.startswith(("http://", "https://")):
        return None
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    secret = f"Bearer {token}" if token else _basic(f"{name}:{password}") if name else None
    return _ask(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1", secret)


def ask_prefect(environment: Mapping[str, str]) -> Answer | None:
    """The answer to a request that needs the token; None if no server is named."""
    api = environment.get("PREFECT_API_URL")
    if not api:
        return None
    login, key = environment.get("PREFECT_API_AUTH_STRING"), environment.get("PREFECT_API_KEY")
    return _ask(f"{api.rstrip('/')}/admin/version", _basic(login) if login else f"Bearer {key}" if key else None)


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _ask(url: str, secret: str | None) -> Answer:
    if urlsplit(url).scheme not in ("http", "https"):
        return Answer(0, "its address does not begin with http:// or https://")
    request = urllib.request.Request(url)  # noqa: S310 - checked
    if secret:
        request.add_unredirected_header("Authorization", secret)  # not to another host that the server names
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:  # noqa: S310
            return Answer(reply.status, reply.read(10_000).decode(errors="replace"), reply.headers.get("Date"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, "", error.headers.get("Date"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(0, visible(redacted(str(getattr(error, "reason", error)))))


def _mlflow(uri: str, answer: Answer | None) -> Finding:
    place = redacted(uri)
    if answer is None:
        return Finding("MLflow", f"a local database, {place}")
    return _answered(
        "MLflow", place, answer, "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.", "MLFLOW_TRACKING_URI"
    )


def _prefect(environment: Mapping[str, str], answer: Answer | None) -> Finding:
    if answer is None:
        return Finding(
            "Prefect", "PREFECT_API_URL names no server: each run starts one, unless a profile of Prefect's names another"
        )
    place = redacted(environment["PREFECT_API_URL"])
    found = _answered("Prefect", place, answer, "Set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY.", "PREFECT_API_URL")
    theirs, ours = _text(answer.body), version("prefect")
    if found.ok and theirs != ours:
        said = f"{place} has version {visible(theirs)}, this machine {ours}"
        return Finding("Prefect", said, "Install the same version on both: a newer client fails on an older server.")
    return found


def _answered(name: str, place: str, answer: Answer, login: str, variable: str) -> Finding:
    if answer.status in (401, 403):
        return Finding(name, f"{place} refuses the login ({answer.status})", login)
    if answer.status == 0:
        return Finding(name, f"{place} does not answer: {answer.body}", f"Start it, or correct {variable}.")
    if answer.status != 200:
        return Finding(name, f"{place} answers {answer.status}", f"Look into its log, or correct {variable}.")
    return Finding(name, f"{place} answers")


def _text(body: str) -> str:
    try:
        return str(json.loads(body))
    except ValueError:
        return body[:80]


def _remote(home: Home) -> Finding:
    try:
        remote = default_remote(home.project, home.dvc)
    except RatchetError as error:
        return Finding("DVC remote", "cannot be read", str(error))
    scheme = urlsplit(remote).scheme
    if scheme in PLUGINS and importlib.util.find_spec(PLUGINS[scheme]) is None:
        package = "'ratchet-rl[server]'" if scheme == "s3" else PLUGINS[scheme].replace("_", "-")
        return Finding("DVC remote", f"{remote} needs {PLUGINS[scheme].replace('_', '-')}", f"pip install {package}")
    return Finding("DVC remote", f"{remote}" + (" (`ratchet data push` tries it)" if scheme else ""))


def _clock(answers: Mapping[str, Answer | None]) -> Finding:
    skews = {name: skew for name, answer in answers.items() if answer is not None and (skew := answer.skew) is not None}
    if not skews:
        return Finding("clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; there is no server to compare it with")
    name, worst = max(skews.items(), key=lambda one: abs(one[1]))
    if abs(worst) > SKEW:
        how = "ahead of" if worst > 0 else "behind"
        return Finding("clock", f"that of {name} is {abs(worst):.0f} s {how} this one", "Synchronise both with NTP.")
    return Finding("clock", f"within {SKEW:g} s of {', '.join(skews)}")
