"""Stack files for tests."""

from __future__ import annotations

DIGEST = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64

LOCAL = f"""\
# who owns this: the tests
config:
  modelramp:cluster: {{target: embedded, namespace: models, gateway: gateway/models}}
  modelramp:services:
    fraud: # a comment that must stay
      owner: payments-ml
      risk: high
      runtime: {{kind: mlflow}}
      versions:
        "1.4.0": {{uri: "s3://m/a", digest: "{DIGEST}", registry: "models:/fraud/14"}}
        '1.5.0': {{uri: 's3://m/b', digest: "{OTHER}", registry: "models:/fraud/15"}}
      strategy: {{kind: canary, steps: [1, 5, 25, 100], bake: 10m}}
      slo: {{errorRate: 0.01, latency: {{thresholdMs: 250, share: 0.99}}, accuracy: 0.9}}
      judge: {{minRequests: 100, settle: 1m, interval: 1m}}
      rollout:
        stable: "1.4.0"
        candidate: "1.5.0"   # on trial
        moves:
          - {{percent: 1, at: "2026-11-23T08:00:00Z"}}
          - {{percent: 5, at: "2026-11-23T09:00:00Z", why: "no harm in 41,200 requests"}}
    churn:
      owner: growth
      runtime: {{kind: mlflow}}
      strategy: {{kind: canary, steps: [10, 100]}}
      slo: {{latency: {{thresholdMs: 100, share: 0.95}}}}
encryptionsalt: v1:abc
"""
