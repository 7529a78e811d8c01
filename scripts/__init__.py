"""Thin command-line programs, one a sub-command of `modelramp`."""
