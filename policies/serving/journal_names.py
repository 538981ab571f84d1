"""Names in a journal hashed under a key, so that it can be handed on: equal names stay equal, and selectors still select.

Hashed are the names of nodes, pods, namespaces, gangs, queues, users and images, uids, and the values of labels. Not hashed are
numbers, resources, kinds of cards, the keys of well-known domains, the names of schedulers, and the serial numbers of devices.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from policies.kube.objects import Json, mapping, text

PUBLIC: Final = ("kubernetes.io/", "k8s.io/", "nvidia.com/", "amd.com/", "hami.io/", "rehearse/", "karpenter.sh/")
"""Ends (before the slash) of the domains of names that many clusters share: such names are not hashed."""

PLAIN_VALUES: Final = (
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/npu.chip.name",
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "rehearse/family",
)
"""Labels and annotations whose values are kinds of things and not names."""

LABELS: Final = ("labels", "annotations", "nodeSelector", "matchLabels")
EXPRESSIONS: Final = ("matchExpressions", "matchFields")
MARKS: Final = ("taints", "tolerations")
KEYS: Final = ("topologyKey", "matchLabelKeys", "mismatchLabelKeys")
NAMES: Final = (
    "image",
    "name",
    "namespace",
    "namespaces",
    "nodeName",
    "nominatedNodeName",
    "podGroup",
    "podGroupName",
    "podGroupReplicaKey",
    "queue",
    "uid",
)
"""Keys of objects, by what stands under them."""

REGISTRY: Final = re.compile(
    r"hami\.io/[\w.-]+-(?:register[\w.-]*|devices-(?:to-allocate|allocated))"
    r"|hami\.io/node-register-[\w.-]+|volcano\.sh/(?:node-vgpu-register|vgpu-ids-new)|metax-tech\.com/node-gpu-devices",
    re.ASCII,
)
"""Annotations that list devices by their serial numbers: not hashed, and dropped where they hold the name of a node."""


class Names:
    """Keyed hashes of names: equal names stay equal under one key, and none can be tried out without it (BLAKE2b)."""

    def __init__(self, key: str) -> None:
        if not key:
            raise ValueError("the key must not be empty: without one, names can be found by trying them")
        self._secret = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest()
        self._known: dict[str, str] = {}

    def name(self, name: str) -> str:
        """The hash of a name, of a name in a namespace part by part; numbers and nothing stay as they are."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) > 1_000_000:
                self._known.clear()
            found = self._known[name] = self._made(name)
        return found

    def _made(self, name: str) -> str:
        for joint in "/#":
            if joint in name:
                return joint.join(map(self.name, name.split(joint)))
        if not name or name in ("rest", "gang", "default") or (name.isascii() and name.isdigit()):
            return name
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=8)
        return f"n{digest.hexdigest()}"

    def key(self, key: str) -> str:
        """A key of labels: those of well-known domains stay."""
        domain, slash, _ = key.partition("/")
        return key if slash and f"{domain}/".endswith(PUBLIC) else self.name(key)

    def object(self, item: Json) -> dict[str, Any]:
        """A reduced object under hashed names."""
        hashed: dict[str, Any] = self._any(item, "")
        metadata = mapping(item.get("metadata"))
        said = mapping(metadata.get("annotations"))
        if said:
            host = text(mapping(item.get("spec")).get("nodeName")) or text(metadata.get("name"))
            kept = hashed["metadata"]["annotations"] = self._labels(said)
            for key, value in said.items():
                if REGISTRY.fullmatch(key):
                    kept.pop(self.key(key))
                    if not (host and host in str(value)):
                        kept[key] = value
        return hashed

    def _any(self, value: Any, key: str) -> Any:
        if key in LABELS:
            return self._labels(value)
        if key in EXPRESSIONS:
            return self._expressions(value, key)
        if key in MARKS:
            return self._marks(value)
        if key in KEYS:
            return self._keys(value)
        if key in NAMES:
            return self._texts(value)
        if isinstance(value, dict):
            return {each: self._any(inner, each) for each, inner in value.items()}
        if isinstance(value, list):
            return [self._any(each, key) for each in value]
        return value

    def _labels(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            self.key(key): each if key in PLAIN_VALUES or not isinstance(each, str) else self.name(each)
            for key, each in value.items()
        }

    def _texts(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._texts(each) for each in value]
        return self.name(value) if isinstance(value, str) else value

    def _expressions(self, value: Any, key: str) -> Any:
        """Requirements on labels, or on fields, whose keys are Kubernetes' own."""
        found = self._any(value, "")
        for each in found if isinstance(found, list) else ():
            if isinstance(each, dict) and each.get("key") not in PLAIN_VALUES:
                each["values"] = self._texts(each.get("values"))
                if key == "matchExpressions":
                    each["key"] = self._keys(each.get("key"))
        return found

    def _marks(self, value: Any) -> Any:
        """Taints and tolerations."""
        found = self._any(value, "")
        for each in found if isinstance(found, list) else ():
            if isinstance(each, dict):
                for part, hashed in (("key", self._keys), ("value", self._texts)):
                    if part in each:
                        each[part] = hashed(each[part])
        return found

    def _keys(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._keys(each) for each in value]
        return self.key(value) if isinstance(value, str) else value
