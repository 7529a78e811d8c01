"""Renders objects as YAML files, for the embedded target.

Two differences to the official provider are meant: values that the rendered file would show in
clear but Pulumi keeps secret are refused (the official one warns), and `refresh` reads the files
again (the official one needs a cluster to refresh).
"""

from __future__ import annotations

from pathlib import Path

from local.plugins import rendered
from local.plugins.mode import Call, guessed_namespace
from local.plugins.properties import Properties, signed_path


class RenderMode:
    """Writes files below one folder.

    Args:
        folder: where to.
        default_namespace: of objects that name none.
    """

    def __init__(self, folder: Path, default_namespace: str) -> None:
        self._folder = folder
        self._default_namespace = default_namespace

    def problem(self, marked: Properties) -> str | None:
        """Refuses what the file would show in clear."""
        signed = signed_path(marked)
        if signed is not None:
            return (
                f"{signed} is a secret (or a file) to Pulumi, and the rendered YAML would show it "
                "in clear: refer to a Kubernetes Secret that is made outside of this stack"
            )
        if marked["kind"] == "Secret" and (marked.get("data") or marked.get("stringData")):
            return (
                "a Secret with values is not rendered, the YAML would show them in clear: make it "
                "outside of this stack"
            )
        return None

    def namespace(
        self,
        manifest: Properties,
        declared: str | None,
        old: Properties | None = None,  # noqa: ARG002
    ) -> str | None:
        """There is no cluster to ask: Kubernetes' own kinds are known, others are namespaced."""
        return guessed_namespace(manifest, declared, self._default_namespace)

    def fixed(self, live: Properties, new: Properties, field_manager: str) -> list[str]:  # noqa: ARG002
        """A file can always be written again."""
        return []

    def create(self, manifest: Properties, call: Call) -> Properties | None:
        """Renders the object; a preview touches nothing."""
        if call.preview:
            return None
        rendered.write(manifest, self._folder)
        return manifest

    def read(self, identity: Properties) -> Properties | None:
        """Reads the rendered file again, so that `refresh` sees what others did to it."""
        return rendered.read(rendered.file_of(identity, self._folder))

    def check(self, live: Properties) -> None:
        """A file is always ready."""

    def update(self, old: Properties, manifest: Properties, call: Call) -> Properties | None:  # noqa: ARG002
        """Renders the object again; a preview touches nothing."""
        return self.create(manifest, call)

    def delete(self, live: Properties, inputs: Properties, call: Call) -> None:  # noqa: ARG002
        """Removes the rendered file; one that is gone already is no error."""
        rendered.file_of(live, self._folder).unlink(missing_ok=True)
