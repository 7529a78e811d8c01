"""The Pulumi program: everything that the stack file declares, of services that were deployed."""

from pathlib import Path

import pulumi

from components.stack import declare_stack
from models.errors import ConfigError
from models.stack import CONFIG_KEYS, stack_from_config

ROOT = Path(__file__).resolve().parents[1]

config = pulumi.Config("modelramp")
hidden = [key for key in CONFIG_KEYS if pulumi.runtime.is_config_secret(f"modelramp:{key}")]
if hidden:
    raise pulumi.RunError(f"give secrets config keys of their own; not within {', '.join(hidden)}")
declared = {key: config.get_object(key) for key in CONFIG_KEYS}
try:
    stack = stack_from_config(
        {key: value for key, value in declared.items() if value is not None},
        f"stacks/Pulumi.{pulumi.get_stack()}.yaml",
    )
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None
for name, path in declare_stack(stack, config.require_secret, ROOT).items():
    pulumi.export(name, path)
