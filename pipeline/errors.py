"""The one exception that a user's mistake raises."""


class RecipeError(Exception):
    """A mistake that the user can mend: one sentence that says what, where, and what to do.

    Commands print it without a traceback and exit with code 2; see `pipeline.command`.
    """
