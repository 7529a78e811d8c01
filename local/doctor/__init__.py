"""Checks that a stack's target has what it needs; reads only, and says what is missing and why."""
