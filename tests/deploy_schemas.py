"""JSON Schemas of the objects under `deploy/`, written from the Kubernetes API reference (v1.36), as strict as the API server is
with `fieldValidation: Strict`: a key that is not listed is wrong. Only what the manifests may use is listed.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
ROLE_NAME = {"type": "string", "pattern": r"^[a-z0-9:.-]+$"}
TEXT = {"type": "string", "minLength": 1}
BOOL = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PORT_OR_NAME = {"oneOf": [PORT, {"type": "string", "pattern": r"^[a-z0-9-]{1,15}$"}]}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|Mi|Gi|Ti)?$"}
PERCENT_OR_COUNT = {"oneOf": [COUNT, {"type": "string", "pattern": r"^[0-9]+%$"}]}
LABELS = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
ANNOTATIONS = {"type": "object", "additionalProperties": {"type": "string"}}


def strict(required: str = "", **properties: Any) -> Schema:
    """An object with these keys and no others; those in `required` must be there."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(item: Any, least: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def kind(api_version: str, name: str, required: str = "", **properties: Any) -> Schema:
    head = {
        "apiVersion": {"const": api_version},
        "kind": {"const": name},
        "metadata": strict("name", name=ROLE_NAME, namespace=NAME, labels=LABELS, annotations=ANNOTATIONS),
    }
    return strict(f"apiVersion kind metadata {required}", **head, **properties)


SELECTOR = strict("matchLabels", matchLabels=LABELS)

POD_SECURITY = strict(
    runAsNonRoot=BOOL,
    runAsUser=COUNT,
    runAsGroup=COUNT,
    fsGroup=COUNT,
    fsGroupChangePolicy=one_of("OnRootMismatch", "Always"),
    seccompProfile=strict("type", type=one_of("RuntimeDefault", "Localhost"), localhostProfile=TEXT),
    supplementalGroups=listed(COUNT),
)
CONTAINER_SECURITY = strict(
    allowPrivilegeEscalation=BOOL,
    readOnlyRootFilesystem=BOOL,
    privileged=BOOL,
    runAsNonRoot=BOOL,
    runAsUser=COUNT,
    runAsGroup=COUNT,
    capabilities=strict(drop=listed(TEXT), add=listed(TEXT)),
    seccompProfile=strict("type", type=one_of("RuntimeDefault", "Localhost"), localhostProfile=TEXT),
)
PROBE = strict(
    httpGet=strict("port", path=TEXT, port=PORT_OR_NAME, scheme=one_of("HTTP", "HTTPS")),
    initialDelaySeconds=COUNT,
    periodSeconds=PORT,
    timeoutSeconds=PORT,
    failureThreshold=PORT,
    successThreshold=PORT,
)
ENV = strict(
    "name",
    name=TEXT,
    value={"type": "string"},
    valueFrom=strict(fieldRef=strict("fieldPath", fieldPath=TEXT, apiVersion=TEXT)),
)
AMOUNTS = strict(cpu=QUANTITY, memory=QUANTITY, **{"ephemeral-storage": QUANTITY})
CONTAINER = strict(
    "name image",
    name=NAME,
    image=TEXT,
    imagePullPolicy=one_of("IfNotPresent", "Always", "Never"),
    command=listed(TEXT),
    args=listed(TEXT),
    env=listed(ENV),
    ports=listed(strict("containerPort", name=NAME, containerPort=PORT, protocol=one_of("TCP", "UDP"))),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    resources=strict("requests", requests=AMOUNTS, limits=AMOUNTS),
    securityContext=CONTAINER_SECURITY,
    volumeMounts=listed(
        strict("name mountPath", name=NAME, mountPath=TEXT, readOnly=BOOL, subPath=TEXT),
    ),
)
ITEMS = listed(strict("key path", key=TEXT, path=TEXT, mode=COUNT))
VOLUME = strict(
    "name",
    name=NAME,
    emptyDir=strict(sizeLimit=QUANTITY, medium=one_of("Memory")),
    secret=strict("secretName", secretName=NAME, defaultMode=COUNT, items=ITEMS, optional=BOOL),
    configMap=strict("name", name=NAME, defaultMode=COUNT, items=ITEMS, optional=BOOL),
)
POD_SPEC = strict(
    "containers",
    serviceAccountName=NAME,
    automountServiceAccountToken=BOOL,
    priorityClassName=NAME,
    schedulerName=NAME,
    terminationGracePeriodSeconds=COUNT,
    securityContext=POD_SECURITY,
    containers=listed(CONTAINER),
    volumes=listed(VOLUME),
    nodeSelector=LABELS,
    tolerations=listed(
        strict(
            key=TEXT,
            operator=one_of("Equal", "Exists"),
            value=TEXT,
            effect=one_of("NoSchedule", "NoExecute", "PreferNoSchedule"),
        )
    ),
    topologySpreadConstraints=listed(
        strict(
            "maxSkew topologyKey whenUnsatisfiable",
            maxSkew=PORT,
            topologyKey=TEXT,
            whenUnsatisfiable=one_of("DoNotSchedule", "ScheduleAnyway"),
            labelSelector=SELECTOR,
        )
    ),
)
DEPLOYMENT = kind(
    "apps/v1",
    "Deployment",
    "spec",
    spec=strict(
        "selector template",
        replicas=COUNT,
        minReadySeconds=COUNT,
        revisionHistoryLimit=COUNT,
        selector=SELECTOR,
        strategy=strict(
            "type",
            type=one_of("RollingUpdate", "Recreate"),
            rollingUpdate=strict(maxUnavailable=PERCENT_OR_COUNT, maxSurge=PERCENT_OR_COUNT),
        ),
        template=strict(
            "metadata spec", metadata=strict("labels", labels=LABELS, annotations=ANNOTATIONS), spec=POD_SPEC
        ),
    ),
)
SERVICE = kind(
    "v1",
    "Service",
    "spec",
    spec=strict(
        "selector ports",
        type=one_of("ClusterIP"),
        clusterIP=one_of("None"),
        selector=LABELS,
        sessionAffinity=one_of("None", "ClientIP"),
        ports=listed(
            strict("port", name=NAME, port=PORT, targetPort=PORT_OR_NAME, protocol=one_of("TCP", "UDP")),
        ),
    ),
)
BUDGET = kind(
    "policy/v1",
    "PodDisruptionBudget",
    "spec",
    spec=strict("selector", minAvailable=PERCENT_OR_COUNT, maxUnavailable=PERCENT_OR_COUNT, selector=SELECTOR),
)
PEER = strict(
    podSelector=SELECTOR,
    namespaceSelector=SELECTOR,
    ipBlock=strict("cidr", cidr=TEXT, **{"except": listed(TEXT)}),
)
POLICY_PORTS = listed(strict("port", protocol=one_of("TCP", "UDP"), port=PORT_OR_NAME, endPort=PORT))
NETWORK = kind(
    "networking.k8s.io/v1",
    "NetworkPolicy",
    "spec",
    spec=strict(
        "podSelector policyTypes",
        podSelector=SELECTOR,
        policyTypes=listed(one_of("Ingress", "Egress")),
        ingress=listed(strict("ports", **{"from": listed(PEER)}, ports=POLICY_PORTS)),
        egress=listed(strict("ports", to=listed(PEER), ports=POLICY_PORTS)),
    ),
)
RULE = strict(
    "apiGroups resources verbs",
    apiGroups=listed({"type": "string", "pattern": r"^[a-z0-9.-]*$"}),
    resources=listed({"type": "string", "pattern": r"^[a-z]+(/[a-z]+)?$"}),
    resourceNames=listed(TEXT),
    verbs=listed(one_of("get", "list", "watch", "create", "update", "patch", "delete")),
)
ROLE_REF = strict(
    "apiGroup kind name",
    apiGroup={"const": "rbac.authorization.k8s.io"},
    kind=one_of("Role", "ClusterRole"),
    name=ROLE_NAME,
)
SUBJECTS = listed(strict("kind name namespace", kind={"const": "ServiceAccount"}, name=NAME, namespace=NAME))
RBAC = "rbac.authorization.k8s.io/v1"

KUSTOMIZATION = {
    "labels": listed(strict("pairs", pairs=LABELS, includeSelectors=BOOL, includeTemplates=BOOL)),
    "namespace": NAME,
    "resources": listed(TEXT),
    "components": listed(TEXT),
    "images": listed(strict("name", name=TEXT, newName=TEXT, newTag=TEXT, digest=TEXT)),
    "configMapGenerator": listed(strict("name files", name=NAME, files=listed(TEXT))),
}
CONFIG = "kustomize.config.k8s.io"

SCHEMAS: dict[str, Schema] = {
    "Namespace": kind("v1", "Namespace"),
    "ServiceAccount": kind("v1", "ServiceAccount", automountServiceAccountToken=BOOL),
    "Deployment": DEPLOYMENT,
    "Service": SERVICE,
    "PodDisruptionBudget": BUDGET,
    "NetworkPolicy": NETWORK,
    "ClusterRole": kind(RBAC, "ClusterRole", "rules", rules=listed(RULE)),
    "Role": kind(RBAC, "Role", "rules", rules=listed(RULE)),
    "ClusterRoleBinding": kind(RBAC, "ClusterRoleBinding", "roleRef subjects", roleRef=ROLE_REF, subjects=SUBJECTS),
    "RoleBinding": kind(RBAC, "RoleBinding", "roleRef subjects", roleRef=ROLE_REF, subjects=SUBJECTS),
    "Kustomization": strict(
        "apiVersion kind resources",
        apiVersion={"const": f"{CONFIG}/v1beta1"},
        kind={"const": "Kustomization"},
        **KUSTOMIZATION,
    ),
    "Component": strict(
        "apiVersion kind", apiVersion={"const": f"{CONFIG}/v1alpha1"}, kind={"const": "Component"}, **KUSTOMIZATION
    ),
}
"""Kind -> its schema."""
