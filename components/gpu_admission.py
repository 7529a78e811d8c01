"""Which GPU pods are let in, as a ValidatingAdmissionPolicy in CEL."""

import json
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any, NotRequired, TypedDict

from models.gpu_pool import SHARE_GROUP


class PoolRuleArgs(TypedDict):
    """What a pod must say to run in a pool."""

    priorityClass: str
    """By which the pool's quota counts it."""

    resource: str
    """The only GPU resource that it may ask for."""

    nodeSelector: Mapping[str, str]
    """Labels of the pool's nodes."""

    shareGroup: NotRequired[str]
    """The only group that it may be of; any, if absent."""


_CONTAINERS = "(object.spec.containers + object.spec.?initContainers.orValue([]))"
_ASKS_FOR_A_GPU = f"""
    {_CONTAINERS}.exists(c, c.?resources.?limits.orValue({{}}).exists(r, $is_gpu))"""

_VARIABLES = {
    "resources": "$resources",
    "selectors": "$selectors",
    "groups": "$groups",
    "pool": "object.spec.?priorityClassName.orValue('')",
    "group": "object.metadata.?labels[?'$label'].orValue('')",
    "tolerations": "object.spec.?tolerations.orValue([])",
    "inPool": "variables.pool in variables.resources",
    "selector": "variables.inPool ? variables.selectors[variables.pool] : {}",
    "dedicatedTo": "variables.inPool ? variables.groups[variables.pool] : ''",
    "rightResource": f"""
        !variables.inPool || {_CONTAINERS}.all(c, c.?resources.?limits.orValue({{}}).all(r,
          !($is_gpu) || r == variables.resources[variables.pool]))""",
    "rightNodes": """
        variables.selector.all(key,
          object.spec.?nodeSelector[?key].orValue('') == variables.selector[key])""",
    "tolerated": """
        variables.dedicatedTo == '' || variables.tolerations.exists(t,
          t.?key.orValue('') == '$label' && t.?operator.orValue('Equal') == 'Equal'
          && t.?value.orValue('') == variables.dedicatedTo)""",
    "toleratesOthers": """
        variables.tolerations.exists(t, t.?key.orValue('') == ''
          || t.?key.orValue('') == '$label' && (t.?operator.orValue('Equal') == 'Exists'
            || t.?value.orValue('') != variables.group))""",
    # A term that also selects by something else would keep fewer pods away.
    "apart": """
        object.spec.?affinity.?podAntiAffinity
          .?requiredDuringSchedulingIgnoredDuringExecution.orValue([]).exists(t,
            t.topologyKey == 'kubernetes.io/hostname'
            && has(t.namespaceSelector) && !has(t.namespaceSelector.matchLabels)
            && !has(t.namespaceSelector.matchExpressions)
            && has(t.labelSelector) && !has(t.labelSelector.matchLabels)
            && !has(t.matchLabelKeys) && !has(t.mismatchLabelKeys)
            && t.labelSelector.?matchExpressions.orValue([]).all(e, e.key == '$label'
              && (e.operator == 'Exists'
                || e.operator == 'NotIn' && e.values == [variables.group])))""",
}

_OF_A_NEW_POD = (
    (
        "variables.inPool",
        """'priorityClassName must name a GPU pool, one of $pools; it is "'
          + variables.pool + '"'""",
    ),
    ("variables.rightResource", "'the pool has only ' + variables.resources[variables.pool]"),
    (
        "variables.rightNodes",
        """'nodeSelector must have the labels of the nodes of the pool: '
          + variables.selector.map(k, k + '=' + variables.selector[k]).join(', ')""",
    ),
    ("variables.group != ''", "'label $label is missing'"),
    (
        "variables.dedicatedTo == '' || variables.dedicatedTo == variables.group",
        """'the pool is dedicated to share group "' + variables.dedicatedTo
          + '", the pod is of "' + variables.group + '"'""",
    ),
    ("variables.tolerated", "'a toleration of $label=' + variables.dedicatedTo + ' is missing'"),
    ("!variables.toleratesOthers", "'it tolerates nodes dedicated to other share groups'"),
    (
        "variables.group == '' || variables.apart",
        """'a required podAntiAffinity on kubernetes.io/hostname is missing, in all namespaces'
          + ' against pods whose $label exists and is not ' + variables.group""",
    ),
    (
        "object.spec.?nodeName.orValue('') == ''",
        "'nodeName is set, so no scheduler would keep it apart from other share groups'",
    ),
)

# Not more: pods that were there before the rules must still be able to end.
_OF_A_CHANGED_POD = (
    (
        "oldObject.metadata.?labels[?'$label'].orValue('') == variables.group",
        "'label $label must not change'",
    ),
)


def admission_policy_spec(pools: Sequence[PoolRuleArgs]) -> dict[str, Any]:
    """Returns the spec of the policy for pods that ask for a GPU."""
    by_class = {pool["priorityClass"]: pool for pool in pools}
    vendors = sorted({pool["resource"].partition("/")[0] for pool in pools})
    # Mappings and texts are written in CEL as in JSON.
    values = {
        "label": SHARE_GROUP,
        "pools": ", ".join(by_class),
        "resources": json.dumps({name: it["resource"] for name, it in by_class.items()}),
        "selectors": json.dumps({name: dict(it["nodeSelector"]) for name, it in by_class.items()}),
        "groups": json.dumps({name: it.get("shareGroup", "") for name, it in by_class.items()}),
        # All that the vendors offer: a pod does not get around a pool by another name.
        "is_gpu": " || ".join(f"r.startsWith('{vendor}/')" for vendor in vendors),
    }

    def cel(text: str) -> str:
        return " ".join(Template(text).substitute(values).split())

    problems = (
        f"request.operation == 'UPDATE' ? {_found(_OF_A_CHANGED_POD)} : {_found(_OF_A_NEW_POD)}"
    )
    variables = {**_VARIABLES, "problems": problems}
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["pods"],
                }
            ]
        },
        "matchConditions": [{"name": "asks-for-a-gpu", "expression": cel(_ASKS_FOR_A_GPU)}],
        "variables": [{"name": name, "expression": cel(it)} for name, it in variables.items()],
        "validations": [
            {
                "expression": "variables.problems.size() == 0",
                # One text: the API server tells only of the first validation that fails.
                "messageExpression": "'GPU pod: ' + variables.problems.join('; ')",
                "reason": "Forbidden",
            }
        ],
    }


def _found(rules: Sequence[tuple[str, str]]) -> str:
    """Returns CEL for the texts of the rules, each (what must hold, text), that do not hold."""
    return "(" + " + ".join(f"(({holds}) ? [] : [{text}])" for holds, text in rules) + ")"
