// A canary and its alerts. `pulumi package add` has made the SDK in sdks/.
import * as modelramp from "@pulumi/modelramp";

const name = "fraud";
const namespace = "models";
const owner = "payments-ml";
const stable = "1.4.0";
const candidate = "1.5.0";
const resources = { cpu: "500m", memory: "1Gi" };

const mlflow = new modelramp.MlflowRuntime("mlflow", {
    namespace,
    image: "registry.example.com/modelramp-server:0.1.0",
});

const service = new modelramp.ModelService(name, {
    namespace,
    gateway: "gateway/models",
    callers: ["gateway", "monitoring"],
    runtime: {
        kind: "mlflow",
        name: mlflow.name,
        protocol: "v2",
        timeoutSeconds: 30,
        requests: resources,
        limits: resources,
    },
    versions: {
        [stable]: {
            uri: "s3://models/fraud/1.4.0",
            digest: `sha256:${"0".repeat(64)}`,
            percent: 95,
            replicas: 2,
        },
        [candidate]: {
            uri: "s3://models/fraud/1.5.0",
            digest: `sha256:${"1".repeat(64)}`,
            percent: 5,
            replicas: 1,
        },
    },
    stable,
    candidate,
    risk: "high",
    strategy: { kind: "canary" },
    moves: [{ percent: 5, at: "2026-11-23T08:00:00Z" }],
    readyTimeoutSeconds: 600,
});

new modelramp.AlertRules(name, {
    namespace,
    owner,
    runtime: "mlflow",
    versions: [stable, candidate],
    stable,
    candidate,
    slo: { errorRate: 0.01, latencyThresholdMs: 250, latencyShare: 0.99 },
    margin: { errorRate: 0.002, latency: 0.002, accuracy: 0.01 },
    minRequests: 500,
    minLabels: 100,
    minPredictions: 500,
    driftTolerance: 0.1,
    stalledAfter: "24h",
    gpu: false,
    alerts: [],
    disable: [],
});

export const path = service.path;
