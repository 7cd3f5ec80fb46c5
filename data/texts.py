"""Texts that nobody vouches for, such as names of files, made fit to be shown."""


def printable(text: str) -> str:
    r"""A text on one line, with everything that a terminal would obey or could not write as an escape.

    >>> printable("a\x1b[2Jb\nc\udcff é 水")
    'a\\x1b[2Jb\\nc\\udcff é 水'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_unicode(text: str, name: str) -> str:
    """Refuses half of a surrogate pair, which stands for bytes that are no UTF-8.

    Raises:
        ValueError: naming the text.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"Expected {name} to be Unicode text, but got {printable(text)!r}")
    return text
