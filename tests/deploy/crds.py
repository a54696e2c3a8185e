"""Schemas of the custom resources that are made, of the fields that are used.

After the CRDs of KEDA (config/crd/bases/keda.sh_scaledobjects.yaml) and of Prometheus' operator
(monitoring.coreos.com_servicemonitors.yaml and _podmonitors.yaml), as of August 2026, with every
object closed: a field that is not in here is refused. The names in a Prometheus trigger's metadata
are those of KEDA's pkg/scalers/prometheus_scaler.go.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
INTEGER: Schema = {"type": "integer"}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    metadata: Schema = {"type": "object", "required": ["name"]}
    return _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


LABELS = _object([], matchLabels={"type": "object", "additionalProperties": TEXT})
ENDPOINT = _object(
    [],
    port=TEXT,
    path=TEXT,
    interval=DURATION,
)
TRIGGER = _object(
    ["type", "metadata"],
    type={"const": "prometheus"},
    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
    metadata=_object(
        ["serverAddress", "query", "threshold"],
        serverAddress=TEXT,
        query=TEXT,
        threshold={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
    ),
)
SCALE_DOWN = _object([], stabilizationWindowSeconds={**INTEGER, "minimum": 0, "maximum": 3600})

SCHEMAS: dict[str, Schema] = {
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            ["scaleTargetRef", "triggers"],
            scaleTargetRef=_object(["name"], name=TEXT),
            minReplicaCount=INTEGER,
            maxReplicaCount=INTEGER,
            advanced=_object(
                [],
                horizontalPodAutoscalerConfig=_object(
                    [], behavior=_object([], scaleDown=SCALE_DOWN)
                ),
            ),
            triggers=_list(TRIGGER),
        ),
    ),
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(["endpoints", "selector"], endpoints=_list(ENDPOINT), selector=LABELS),
    ),
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(["selector"], podMetricsEndpoints=_list(ENDPOINT), selector=LABELS),
    ),
}
