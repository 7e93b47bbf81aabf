"""One torch thread in this room."""

from tests.one_thread import one_thread  # noqa: F401
