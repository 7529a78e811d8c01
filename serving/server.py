"""The model on KServe's SDK, and the server around it."""

from __future__ import annotations

import asyncio
import sys
import types
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import structlog
import uvloop

# KServe reads this process's command line when it is imported; ours is read by `serving.options`.
_arguments, sys.argv = sys.argv, sys.argv[:1]
import kserve  # noqa: E402
from kserve.model_server import app  # noqa: E402

sys.argv = _arguments

from fastapi import Request  # noqa: E402
from fastapi.exceptions import RequestValidationError  # noqa: E402
from prometheus_client import REGISTRY, disable_created_metrics  # noqa: E402

from serving.errors import Refusal, invalid  # noqa: E402
from serving.feedback import PredictionMemory  # noqa: E402
from serving.front import Draining, Front  # noqa: E402
from serving.loader import LoadedModel  # noqa: E402
from serving.metrics import ServerMetrics  # noqa: E402
from serving.options import Options  # noqa: E402
from serving.payload import Tensor, rows_of_v1, rows_of_v2  # noqa: E402

log = structlog.get_logger("serving")


class ServedModel(kserve.Model):
    """Answers requests that KServe decoded."""

    def __init__(
        self,
        options: Options,
        model: LoadedModel,
        metrics: ServerMetrics,
        memory: PredictionMemory,
    ) -> None:
        """Makes it ready at once: the model is loaded.

        Args:
            options: names, version and limits.
            model: what computes.
            metrics: where rows and predictions are counted.
            memory: keeps the predictions for their labels.
        """
        super().__init__(options.model_name)
        self.ready = True
        self._options = options
        self._model = model
        self._metrics = metrics
        self._memory = memory
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="predict")
        self._running: set[Future[list[Any]]] = set()

    async def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  no gRPC here
        self,
        payload: dict[str, Any] | kserve.InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | kserve.InferResponse:
        """Predicts one request's rows.

        Raises:
            Refusal: the payload breaks the signature, the model raised or took too long, or the
                queue is full.
        """
        del response_headers
        request_id = (headers or {})["x-request-id"]  # Front sees to it
        if isinstance(payload, kserve.InferRequest):
            rows = rows_of_v2([_tensor(item) for item in payload.inputs], self._model.signature)
        else:
            rows = rows_of_v1(payload, self._model.signature)
        predictions = await self._compute(rows)
        self._metrics.count_predictions(predictions)
        self._memory.remember(request_id, predictions)
        if isinstance(payload, kserve.InferRequest):
            return self._infer_response(payload.id or request_id, predictions)
        return {"predictions": predictions}

    async def _compute(self, rows: list[Any]) -> list[Any]:
        limit_seconds = self._options.timeout_seconds
        if len(self._running) >= self._options.max_concurrency:
            self._running = {future for future in self._running if not future.done()}
        if len(self._running) >= self._options.max_concurrency:
            raise Refusal(503, "overload", "too many requests are waiting; try again later")
        self._metrics.count_rows(rows)
        future = self._pool.submit(self._model.predict, rows)
        # One that is timed out goes on in its thread, and counts as running until it ends.
        self._running.add(future)
        try:
            async with asyncio.timeout(limit_seconds):
                predictions = await asyncio.wrap_future(future)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise Refusal(500, "error", "the model raised TimeoutError") from error
            raise Refusal(
                504, "timeout", f"the model did not answer within {limit_seconds:g} seconds"
            ) from None
        except Exception as error:
            raise Refusal(500, "error", f"the model raised {type(error).__name__}") from error
        finally:
            if future.done():
                self._running.discard(future)
        if len(predictions) != len(rows):
            raise Refusal(500, "error", "the model did not return one prediction a row")
        return predictions

    def _infer_response(self, response_id: str, predictions: list[Any]) -> kserve.InferResponse:
        datatype, data = _tensor_data(predictions)
        width = [len(predictions[0])] if isinstance(predictions[0], list) else []
        output = kserve.InferOutput(
            name="predictions", shape=[len(predictions), *width], datatype=datatype, data=data
        )
        return kserve.InferResponse(
            response_id=response_id,
            model_name=self.name,
            model_version=self._options.model_version,
            infer_outputs=[output],
        )

    def get_input_types(self) -> list[dict[str, Any]]:
        """Returns the signature for `GET /v2/models/<name>`: one tensor a column."""
        return [
            {"name": column.name, "datatype": max(column.kind.tensors), "shape": [-1]}
            for column in self._model.signature.columns
        ]


class Server(kserve.ModelServer):
    """KServe's server on one address, without gRPC, that stops without failing a request."""

    def __init__(self, options: Options, draining: Draining) -> None:
        """Prepares the server; `start` runs it.

        Args:
            options: address and time limits.
            draining: set when SIGTERM or SIGINT arrives.
        """
        super().__init__(
            http_port=options.http_port,
            enable_grpc=False,
            enable_docs_url=False,
            enable_latency_logging=False,
            grace_period=max(1, int(options.grace_seconds - options.drain_seconds)),
            # Longer than Envoy keeps an idle connection (an hour), so that we never close one
            # on which it is just sending.
            timeout_keep_alive=3700,
        )
        self._host = options.http_host
        self._drain_seconds = options.drain_seconds
        self._draining = draining

    def setup_event_loop(self) -> None:
        """Does nothing: KServe's own sets up another loop than the one that runs."""

    def register_signal_handler(self) -> None:
        """Does nothing: uvicorn sets its own handlers when it starts."""

    async def _serve(self) -> None:
        # KServe's SDK listens on all addresses and offers no option for it.
        rest = self._rest_server
        if rest is None:
            raise RuntimeError("KServe made no REST server")
        rest.config.host = self._host
        rest.config.access_log = False
        uvicorn = rest._server  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        loop = asyncio.get_running_loop()

        def stop(sig: int, frame: types.FrameType | None) -> None:
            del frame
            if self._draining.on:  # asked twice: at once
                uvicorn.should_exit = True
                return
            self._draining.on = True
            log.info("stopping", signal=sig, drain_seconds=self._drain_seconds)
            loop.call_soon_threadsafe(
                loop.call_later, self._drain_seconds, setattr, uvicorn, "should_exit", True
            )

        uvicorn.handle_exit = stop
        await super()._serve()


def serve(options: Options, model: LoadedModel) -> None:
    """Serves until SIGTERM or SIGINT; returns when requests in flight are answered.

    Args:
        options: the command line.
        model: in memory already, so that the port opens only when requests can be answered.
    """
    disable_created_metrics()
    metrics = ServerMetrics(REGISTRY, model.profile, model.signature.names)
    memory = PredictionMemory(options.feedback_memory)
    draining = Draining()
    app.add_middleware(Front, options=options, metrics=metrics, memory=memory, draining=draining)
    app.add_exception_handler(RequestValidationError, _refuse_malformed)
    # The prediction's thread must give way to the event loop sooner than after Python's 5 ms.
    sys.setswitchinterval(0.001)
    uvloop.install()
    log.info("ready to serve", host=options.http_host, port=options.http_port)
    Server(options, draining).start([ServedModel(options, model, metrics, memory)])


async def _refuse_malformed(_request: Request, error: Exception) -> Any:
    """Turns FastAPI's 422 for a body that is no v2 request into our 400."""
    if not isinstance(error, RequestValidationError):
        raise error
    raise invalid(
        [
            {
                "problem": f"{'.'.join(map(str, item['loc']))}: {item['msg']}",
                "allowed": 'a v2 inference request: {"inputs": [{"name", "shape", "datatype",'
                ' "data"}, ...]}',
            }
            for item in error.errors()
            if "bytes" not in item["loc"]
        ]
    ) from None


def _tensor(item: kserve.InferInput) -> Tensor:
    if isinstance(item.data, list):
        return Tensor(item.name, item.shape, item.datatype, item.data)
    array = item.as_numpy()
    return Tensor(item.name, item.shape, item.datatype, array.tolist())


def _tensor_data(predictions: list[Any]) -> tuple[str, list[Any]]:
    """Returns the v2 data type of predictions, and their values as this type wants them."""
    flat = (
        [value for row in predictions for value in row]
        if isinstance(predictions[0], list)
        else predictions
    )
    kinds = set(map(type, flat))
    for kind, datatype in ((bool, "BOOL"), (int, "INT64"), (float, "FP64")):
        if kinds == {kind}:
            return datatype, flat
    if kinds == {int, float}:
        return "FP64", [float(value) for value in flat]
    return "BYTES", [str(value) for value in flat]
