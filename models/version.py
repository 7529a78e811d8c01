"""One version of a model: its artifact, and what it takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.base import Declared, Digest

Signature = Annotated[dict[str, str], Field(min_length=1)]
"""Types by name of an input or output, such as `{amount: double, country: string}`."""


class Version(Declared):
    """One version's artifact: where it lies, what it is, where it comes from.

    Attributes:
        uri: folder of the artifact in the store.
        digest: of that folder, see `models.digest`.
        registry: where the model registry has it, `models:/<name>/<number>`.
        inputs: what a request holds; a change needs a new major version.
        outputs: what an answer holds; a change needs a new major version.
        quantization: of the weights; `vllm` and `huggingface` are told of it.
    """

    uri: str = Field(pattern=r"^s3://[^/]+/.+")
    digest: Digest
    registry: str = Field(pattern=r"^models:/[^/]+/[^/]+$")
    inputs: Signature | None = None
    outputs: Signature | None = None
    quantization: Literal["awq", "gptq", "fp8", "int8", "int4", "bitsandbytes"] | None = None
