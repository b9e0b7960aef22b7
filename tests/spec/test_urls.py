"""URLs of storages: which ones are understood, and that no password of one is shown or kept."""

from pathlib import Path

import pytest
from spec_files import BASE

from mcl_bench.records import UserError
from mcl_bench.spec import dump_yaml, load, masked, without_password

FORM = "postgresql://USER@HOST/DATABASE"


def loaded(tmp_path: Path, search: str, *overrides: str) -> str:
    """What is kept of an experiment with these lines of `search`."""
    rows = [row for row in BASE.splitlines() if not row.startswith("search:")]
    (tmp_path / "x.yaml").write_text("\n".join([*rows, search]) + "\n")
    return dump_yaml(load(tmp_path / "x.yaml", overrides).resolved)


@pytest.mark.parametrize(
    ("url", "said", "remedy"),
    [
        ("mysql://u:hush@h/d", "not at mysql://u:***@h/d", FORM),
        ("sqlite:///x.db", "not at sqlite:///x.db", FORM),
        ("study.db", "not at study.db", FORM),
        ("postgresql:/u:hush@h/d", "not at postgresql:***@h/d", FORM),
        ("u:hush@h/d", "not at u:***@h/d", FORM),
        ("postgres://u:hush@h/d", "postgres:// is not understood", "write postgresql://"),
        ("postgresql+psycopg2://u:hush@h/d", "psycopg2:// is not understood", "postgresql://"),
        ("postgresql://u:hush@h", "postgresql://u:***@h names no database", FORM),
        ("postgresql://u:hush@h/", "names no database", FORM),
        ("postgresql://u:hu@sh@h/d", "can't be taken apart", "%40"),
        ("postgresql://u:hu/sh@h/d", "can't be taken apart", "%2F"),
        ("postgresql://u:hush@h:many/d", "can't be taken apart", "%3A"),
        ("['postgresql://u:hush@h/d']", "search.storage must be text", ""),
    ],
)
def test_a_storage_that_cannot_be_is_refused_with_its_place_and_without_its_password(
    tmp_path: Path, url: str, said: str, remedy: str
) -> None:
    for arguments in ((f"search: {{storage: {url}}}",), ("search: {}", f"search.storage={url}")):
        with pytest.raises(UserError) as told:
            loaded(tmp_path, *arguments)
        assert said in told.value.rule
        assert remedy in (told.value.remedy or "")
        assert told.value.key == "search.storage"
        assert told.value.place is not None
        assert "hush" not in str(told.value)
        assert "sh@" not in str(told.value)


def test_an_interpolation_that_fails_shows_no_password(tmp_path: Path) -> None:
    line = "search: {storage: 'postgresql://u:hush@h/${oc.env:MCL_NOT_SET,${}'}"
    with pytest.raises(UserError) as told:
        loaded(tmp_path, line)
    assert "hush" not in str(told.value)


def test_what_is_kept_of_an_experiment_has_the_address_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCL_TEST_DATABASE", "postgresql://me:hush@db:5433/studies?sslmode=require")
    kept = loaded(
        tmp_path,
        "search: {storage: '${oc.env:MCL_TEST_DATABASE}'}",
        "tracking.uri=http://me:hush@tracking:5000",
    )
    assert "hush" not in kept
    (tmp_path / "kept.yaml").write_text(kept)
    again = load(tmp_path / "kept.yaml")
    assert again.spec.search.storage == "postgresql://me@db:5433/studies?sslmode=require"
    assert again.spec.tracking.uri == "http://me@tracking:5000"
    assert dump_yaml(again.resolved) == kept


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql+psycopg://u:p%40w@h/d?password=x&sslmode=require&sslpassword=y",
         "postgresql://u@h/d?sslmode=require"),
        ("postgresql://u@h/d?password=x", "postgresql://u@h/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("http://localhost:5000/#/x@1", "http://localhost:5000/#/x@1"),
        ("file:/x", "file:/x"),
    ],
)  # fmt: skip
def test_a_url_is_kept_as_it_is_but_for_its_password(url: str, kept: str) -> None:
    assert without_password(url) == kept


def test_a_password_anywhere_in_a_text_is_masked() -> None:
    said = "no postgresql://u:hu@sh@h/d, no http://x:hush@y/, password=hush sslpassword=hush"
    told = masked(said)
    assert "hu" not in told
    assert "sh" not in told.replace("sslpassword", "")
    assert masked("plain text: a@b, http://host:80/") == "plain text: a@b, http://host:80/"
