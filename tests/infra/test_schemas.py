"""Containers and clusters are not run here: their files are checked, offline, against the schemas of those who read them."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from prefect.utilities.templating import apply_values

from tests.places import ROOT

INFRA = ROOT / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
TEMPLATE = json.loads((INFRA / "k8s" / "base-job-template.json").read_text(encoding="utf-8"))
KUBERNETES = ("1.30", "1.33", "1.37")
GIVEN = {"name": "run", "command": "python -m prefect.flow_engine", "env": {"PREFECT_API_URL": "http://prefect/api"}}
REQUIRED_BY_PREFECT = ("parallelism", "completions")  # in the pod's spec, where Kubernetes has no such fields
NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)")


def compose_errors(document: Any) -> list[str]:
    """What the compose specification rejects; check-jsonschema has its schema."""
    text = (files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    return [error.message for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(document)]


def job() -> Any:
    """The Job of a flow run, as Prefect's worker fills the template in."""
    defaults = {name: value["default"] for name, value in TEMPLATE["variables"]["properties"].items() if "default" in value}
    filled: Any = apply_values(TEMPLATE["job_configuration"], {**defaults, **GIVEN})
    manifest = deepcopy(filled["job_manifest"])
    pod = manifest["spec"]["template"]["spec"]
    for name in REQUIRED_BY_PREFECT:
        del pod[name]
    (container,) = pod["containers"]
    container["env"] = [{"name": name, "value": value} for name, value in {**filled["env"], **container["env"]}.items()]
    container["args"] = container["args"].split()
    return manifest


def shown() -> Iterator[Any]:
    """The Kubernetes objects that the documents tell people to apply."""
    for path in [*sorted((INFRA / "k8s").glob("*.md")), INFRA / "ray" / "README.md"]:
        for block in re.findall(r"<<'YAML'\n(.*?)\nYAML\n", path.read_text(encoding="utf-8"), re.DOTALL):
            yield from yaml.safe_load_all(block)


def test_compose_fits_its_specification() -> None:
    assert compose_errors(COMPOSE) == []


@pytest.mark.parametrize("mistake", [{"helthcheck": {}}, {"profiles": "gpu"}, {"depends_on": {"x": {"condition": "healthy"}}}])
def test_a_mistake_in_compose_would_be_found(mistake: dict[str, Any]) -> None:
    document = deepcopy(COMPOSE)
    document["services"]["worker"].update(mistake)
    assert compose_errors(document)


@pytest.mark.parametrize("version", KUBERNETES)
def test_a_job_fits_kubernetes(version: str) -> None:
    kubernetes_validate.validate(job(), version, strict=True)


def test_a_mistake_in_a_job_would_be_found() -> None:
    wrong = job()
    wrong["spec"]["template"]["spec"]["containers"][0]["ressources"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_what_the_documents_apply_fits_kubernetes(version: str) -> None:
    objects = list(shown())
    assert {one["kind"] for one in objects} >= {"PersistentVolumeClaim"}
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_templates_variables_are_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(TEMPLATE["variables"])


def test_every_variable_of_compose_is_documented() -> None:
    text = (INFRA / "compose.yaml").read_text(encoding="utf-8")
    passed_on = {
        name
        for service in COMPOSE["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    table = re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", (INFRA / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(table) == set(NAME.findall(text)) | passed_on | {"COMPOSE_PROFILES"}
