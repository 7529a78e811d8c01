"""Wrong arguments of a component, all of them told at once."""

from collections.abc import Collection

from pulumi.errors import InputPropertiesError, InputPropertyErrorDetails


def refuse(component: str, problems: Collection[tuple[str, str]]) -> None:
    """Does nothing where there are no problems.

    Args:
        component: its name.
        problems: property path and reason of each.

    Raises:
        InputPropertiesError: there are some.
    """
    if problems:
        raise InputPropertiesError(
            f"{component} arguments are wrong",
            [InputPropertyErrorDetails(property_path=path, reason=why) for path, why in problems],
        )
