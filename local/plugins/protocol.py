"""Pulumi's gRPC protocol without Pulumi's SDK.

Importing the SDK, in which the protocol lies, takes half a second; a plugin starts in every
command, and the language host twice.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import (
        engine_pb2,
        engine_pb2_grpc,
        language_pb2,
        language_pb2_grpc,
        plugin_pb2,
        provider_pb2,
        provider_pb2_grpc,
        status_pb2,
    )
else:
    # A package of our own over the SDK's folder: its modules import one another relatively.
    _sdk = find_spec("pulumi")
    _package = ModuleType(f"{__name__}_modules")
    _package.__path__ = [f"{_sdk.submodule_search_locations[0]}/runtime/proto"]
    sys.modules[_package.__name__] = _package
    engine_pb2 = import_module(f"{_package.__name__}.engine_pb2")
    engine_pb2_grpc = import_module(f"{_package.__name__}.engine_pb2_grpc")
    language_pb2 = import_module(f"{_package.__name__}.language_pb2")
    language_pb2_grpc = import_module(f"{_package.__name__}.language_pb2_grpc")
    plugin_pb2 = import_module(f"{_package.__name__}.plugin_pb2")
    provider_pb2 = import_module(f"{_package.__name__}.provider_pb2")
    provider_pb2_grpc = import_module(f"{_package.__name__}.provider_pb2_grpc")
    status_pb2 = import_module(f"{_package.__name__}.status_pb2")

__all__ = [
    "engine_pb2",
    "engine_pb2_grpc",
    "language_pb2",
    "language_pb2_grpc",
    "plugin_pb2",
    "provider_pb2",
    "provider_pb2_grpc",
    "status_pb2",
]
