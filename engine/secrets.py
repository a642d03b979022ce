"""A value that must not be shown: its text is read on purpose, by `reveal`, and no other way."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["Secret"]


class Secret:
    """Holds a secret; `repr`, `str` and formatting show `***`.

    In a configuration a secret is written literally, as `${NAME}` from the environment, or as
    `<key>_file` with a path. Of a URL, scheme and host may be shown (`origin`), since tokens are in
    the path or the query.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    @property
    def origin(self) -> str:
        """`scheme://host[:port]` if the secret is a URL, else `***`."""
        try:
            parts = urlsplit(self._text)
        except ValueError:  # a host in broken brackets
            return "***"
        if not parts.scheme or not parts.hostname:
            return "***"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        try:
            port = parts.port
        except ValueError:
            port = None
        return f"{parts.scheme}://{host}" + (f":{port}" if port else "")

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))
