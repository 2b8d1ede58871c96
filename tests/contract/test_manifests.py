"""The example manifests: valid by the published schemas, closed, and pointing at what the image has."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from typer.main import get_command

from contract.containerfile import read
from gatewright.cli.commands import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"
SCHEMAS = json.loads((Path(__file__).parent / "kserve_schema.json").read_text("utf-8"))
PINNED = re.compile(r"^[a-z0-9./-]+@sha256:[0-9a-f]{64}$")


def documents(path: Path) -> list[Any]:
    """Every document of a YAML file, as plain values."""
    return [json.loads(json.dumps(one)) for one in YAML(typ="safe").load_all(path.read_text("utf-8"))]


PLAIN = documents(DEPLOY / "kubernetes" / "serving.yaml")
KSERVE = [one for path in sorted((DEPLOY / "kserve").glob("*.yaml")) for one in documents(path)]
STATEFUL = next(one for one in PLAIN if one["kind"] == "StatefulSet")
RUNTIME = next(one for one in KSERVE if one["kind"] == "ServingRuntime")
POD_SPECS = {"kubernetes": STATEFUL["spec"]["template"]["spec"], "kserve": RUNTIME["spec"]}


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    """A Pod with the containers and volumes of a spec, for the schema of Kubernetes."""
    kept = {key: spec[key] for key in ("containers", "volumes", "securityContext") if key in spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": kept}


def test_there_is_one_of_each_kind() -> None:
    """The plain example is a set of workers, a service, a network policy and a disruption budget."""
    assert ["StatefulSet", "Service", "NetworkPolicy", "PodDisruptionBudget"] == [
        one["kind"] for one in PLAIN
    ]
    assert {"ServingRuntime", "InferenceService"} == {one["kind"] for one in KSERVE}


@pytest.mark.parametrize("document", PLAIN, ids=lambda one: one["kind"])
def test_the_plain_manifests_are_valid(document: dict[str, Any]) -> None:
    """Each document holds by the strict schema of Kubernetes, in which unknown fields are errors."""
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("document", KSERVE, ids=lambda one: one["kind"])
def test_the_kserve_manifests_are_valid(document: dict[str, Any]) -> None:
    """Each document holds by KServe's fields, and its containers and volumes by Kubernetes' own."""
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    if document["kind"] == "ServingRuntime":
        kubernetes_validate.validate(pod(document["spec"]), KUBERNETES, strict=True)
    else:
        predictor = document["spec"]["predictor"]
        alone = {"containers": [{"name": "x"}], "securityContext": predictor["securityContext"]}
        kubernetes_validate.validate(pod(alone), KUBERNETES, strict=True)


def test_the_schemas_find_a_misspelt_field() -> None:
    """A field that no schema knows is refused by each of them, so that the tests above can fail."""
    bent = copy.deepcopy(STATEFUL)
    bent["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(bent, KUBERNETES, strict=True)
    bent = copy.deepcopy(RUNTIME)
    bent["spec"]["protocolVersion"] = "v2"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bent, SCHEMAS["ServingRuntime"])


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS)
def test_every_container_is_closed(spec: dict[str, Any]) -> None:
    """No root, no writable root, no capability, no escalation, the default seccomp profile, a memory limit."""
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert (True, True, False, False) == (
        context["runAsNonRoot"],
        context["readOnlyRootFilesystem"],
        context["allowPrivilegeEscalation"],
        context["privileged"],
    )
    assert ({"drop": ["ALL"]}, {"type": "RuntimeDefault"}) == (
        context["capabilities"],
        context["seccompProfile"],
    )
    assert container["resources"]["limits"]["memory"]
    assert PINNED.match(container["image"])
    assert not [each for each in container.get("env", []) if "value" in each]


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS)
def test_only_records_and_memory_can_be_written(spec: dict[str, Any]) -> None:
    """The folder and the keys are mounted for reading; keys are readable by owner and group only."""
    (container,) = spec["containers"]
    writable = {each["name"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert {"records", "memory"} == writable
    modes = {
        volume["name"]: volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume
    }
    assert {0o440} == set(modes.values())
    assert {"keys", "probe"} <= set(modes)


@pytest.mark.parametrize("spec", POD_SPECS.values(), ids=POD_SPECS)
def test_the_commands_are_ones_that_the_program_has(spec: dict[str, Any]) -> None:
    """Every option of container and probe is an option of the command, and the paths are mounted."""
    (container,) = spec["containers"]
    (entry,) = [
        each.arguments for each in read((ROOT / "Containerfile").read_text()) if each.word == "ENTRYPOINT"
    ]
    whole = [*container.get("command", entry), *container["args"]]
    probe = container["readinessProbe"]["exec"]["command"]
    known = get_command(app)
    for command in (whole, probe):
        assert "/opt/gatewright/bin/gatewright" == command[0]
        told = {one.partition("=")[0] for one in command if one.startswith("--")}
        options = {name for each in known.commands[command[1]].params for name in each.opts}
        assert told <= options
    assert {"--tls-cert", "--tls-ended-by"} & {one.partition("=")[0] for one in container["args"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"]} | {"/mnt/models"}
    paths = {part for one in (*whole, *probe) for part in re.findall(r"/mnt/[a-z]+", one)}
    assert paths <= mounts


def test_the_probes_ask_the_open_inference_paths_by_a_name_that_is_answered_for() -> None:
    """Liveness asks the v2 path with a host name of the loopback, and over TLS where the worker speaks it."""
    for spec in POD_SPECS.values():
        (container,) = spec["containers"]
        asked = container["livenessProbe"]["httpGet"]
        assert ("/v2/health/live", "localhost") == (asked["path"], asked["httpHeaders"][0]["value"])
        encrypted = any(one.startswith("--tls-cert") for one in container["args"])
        assert ("HTTPS" if encrypted else "HTTP") == asked.get("scheme", "HTTP")


def test_nothing_goes_out_and_only_labelled_callers_come_in() -> None:
    """The network policy has no egress and one way in."""
    policy = next(one for one in PLAIN if one["kind"] == "NetworkPolicy")["spec"]
    assert ([], ["Ingress", "Egress"]) == (policy["egress"], policy["policyTypes"])
    assert {"gatewright-caller": "allowed"} == policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]


def test_the_selectors_meet_the_pods() -> None:
    """Service, network policy and disruption budget mean the pods of the set."""
    labels = STATEFUL["spec"]["template"]["metadata"]["labels"]
    service, policy, budget = (next(o for o in PLAIN if o["kind"] == kind)["spec"] for kind in (
        "Service", "NetworkPolicy", "PodDisruptionBudget"
    ))  # fmt: skip
    assert labels == service["selector"]
    assert labels == policy["podSelector"]["matchLabels"]
    assert labels == budget["selector"]["matchLabels"]
    assert labels == STATEFUL["spec"]["selector"]["matchLabels"]


def test_the_help_names_every_option_of_a_mounted_folder() -> None:
    """The options that the manifests use are explained where a person looks."""
    said = CliRunner().invoke(get_command(app), ["serve", "--help"]).output
    assert all(option in said for option in ("--folder", "--keys", "--segments", "--fingerprint"))
