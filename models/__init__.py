"""What a stack may declare: pydantic models, the exception tree, metric sources. No Pulumi here."""
