"""How Prometheus is reached, in its own words (`http_config`), without any secret itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from models.base import Declared, DurationSeconds, EnvironmentName, refuse

Path = Annotated[str, Field(min_length=1)]


class Secret(Declared):
    """Where a secret is found; exactly one place.

    Attributes:
        env: an environment variable.
        file: a file; blanks and line ends around its content do not count.
    """

    env: EnvironmentName | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("give one of env (a variable's name) and file (a path)")
        return self


class Authorization(Declared):
    """The header `Authorization` of each request.

    Attributes:
        type: its first word.
        credentials: its second one, such as a token.
    """

    type: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "Bearer"
    credentials: Secret


class BasicAuth(Declared):
    """A user's name and password.

    Attributes:
        username: of the user.
        password: of the user.
    """

    username: str = Field(min_length=1, pattern=r"^[^:]+$")
    password: Secret


class TlsConfig(Declared):
    """What the connection is secured by; the server's certificate is always checked.

    Attributes:
        ca_file: certificates (PEM) that the server's must be signed by; the usual ones if absent.
        cert_file: our own certificate (PEM).
        key_file: its key (PEM).
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> TlsConfig:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile come together: one is missing")
        return self


class PrometheusAccess(Declared):
    """How Prometheus is reached; paths are relative to the working directory.

    Attributes:
        authorization: a token in a header.
        basic_auth: a user and a password.
        tls_config: for an https URL.
        timeout_seconds: of one query.
    """

    authorization: Authorization | None = None
    basic_auth: BasicAuth | None = None
    tls_config: TlsConfig | None = None
    timeout_seconds: DurationSeconds = Field(10.0, alias="timeout")

    def problems(self, url: str | None) -> list[str]:
        """Returns what is wrong with it for a server's URL."""
        rules = (
            (url is None, "prometheusAccess needs prometheus, the URL"),
            (
                self.tls_config is not None and url is not None and not url.startswith("https:"),
                "prometheusAccess.tlsConfig needs an https URL of prometheus",
            ),
        )
        return [what for wrong, what in rules if wrong]

    @model_validator(mode="after")
    def _one_way(self) -> PrometheusAccess:
        both = self.authorization is not None and self.basic_auth is not None
        refuse(["give authorization or basicAuth, not both"] if both else [])
        return self
