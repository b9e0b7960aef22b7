"""URLs of databases and servers: which ones keep studies, and what of them may be written down.

A password is never shown, and never kept with a sweep: whoever goes on with it gives it again.
"""

import re
from urllib.parse import parse_qsl, urlsplit

from mcl_bench.records import UserError

SECRET_KEYS = ("search.storage", "tracking.uri")
"""The keys of an experiment file whose URL may hold a password."""

SECRET_WORDS = frozenset({"password", "passwd", "sslpassword"})
"""The names that a password has after a URL's question mark."""

POSTGRES = ("postgresql", "postgresql+psycopg")
"""The schemes of the one kind of database, beside the sweep's own file, that keeps studies."""

FORM = "postgresql://USER@HOST/DATABASE"

_USERINFO = re.compile(r"([^:/@\s'\"]*):(?!//)\S*@")
_WORD = re.compile(rf"\b({'|'.join(sorted(SECRET_WORDS))})=[^&\s'\"]+", re.IGNORECASE)


def masked(text: str) -> str:
    """A text in which every URL's password is `***`; rather too much is hidden than too little."""
    return _WORD.sub(r"\1=***", _USERINFO.sub(r"\1:***@", text))


def without_password(url: str) -> str:
    """A URL as it is kept with a sweep and compared: without its password, and its driver's name.

    Whatever else it says stays as it is written.
    """
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    kept = f"{user.partition(':')[0]}{at}{host}{rest[len(authority) :]}"
    address, mark, query = kept.partition("?")
    if any(name in SECRET_WORDS for name, _ in parse_qsl(query)):
        words = [pair for pair in query.split("&") if pair.partition("=")[0] not in SECRET_WORDS]
        query = "&".join(words)
        mark = mark if query else ""
    return f"{POSTGRES[0] if scheme in POSTGRES else scheme}://{address}{mark}{query}"


def postgres_address(url: str) -> str:
    """The URL of a PostgreSQL database as its own library reads it."""
    return f"{POSTGRES[0]}://{url.partition('://')[2]}"


def postgres_fault(url: str) -> tuple[str, str] | None:
    """What is wrong with the form of a URL that is to keep studies, and the remedy; None if it can.

    Nothing of a URL is told whose password can't be told apart from the rest.
    """
    scheme, _, rest = url.partition("://")
    use = f"leave it out (SQLite in the sweep's folder), or name a database: {FORM}"
    if scheme == "postgres" or (scheme.startswith("postgresql+") and scheme not in POSTGRES):
        return f"a URL with {scheme}:// is not understood", f"write {POSTGRES[0]}://"
    if scheme not in POSTGRES or not rest:
        return f"studies are kept in PostgreSQL or a file of the sweep's own, not at {url}", use
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or "@" in parts.path + parts.query + parts.fragment or rest.count("@") > 1:
        return (
            "the URL can't be taken apart: a name, password or port in it has a special character",
            "write @ : / ? # % in a password as %40 %3A %2F %3F %23 %25",
        )
    if not parts.path.strip("/"):
        return f"{masked(url)} names no database", f"write {FORM}"
    return None


def refuse_storage(url: str | None, place: str) -> None:
    """Raise a UserError for a URL that no studies can be kept at; None is the sweep's own file."""
    if url is None:
        return
    fault = postgres_fault(url)
    if fault is not None:
        rule, remedy = fault
        key = "search.storage"
        raise UserError(f"{key}: {masked(rule)}", key=key, place=place, remedy=remedy)
