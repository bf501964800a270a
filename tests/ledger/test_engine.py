"""Which driver a URL means, and what of it is shown."""

import sys

import pytest
import sqlalchemy as sa

from ratchet.components.errors import MissingExtraError, RegistryError
from ratchet.components.ledger.engine import engine_of, shown, with_driver


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://user:pw@host/db", "postgresql+psycopg"),
        ("postgres://user:pw@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://user:pw@host/db", "postgresql+psycopg2"),
        ("sqlite:///ledger.db", "sqlite"),
    ],
)
def test_postgresql_without_a_driver_means_psycopg_3(url: str, driver: str) -> None:
    parsed = with_driver(sa.make_url(url))
    assert parsed.drivername == driver
    assert parsed.set(drivername=sa.make_url(url).drivername) == sa.make_url(url)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_missing_driver_is_a_missing_extra(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"psycopg.*Run: pip install 'ratchet-rl\[server\]'\.") as raised:
        engine_of(f"{driver}://me:secret@host/db")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("password", ["half@secret", "half@secret/more"])
def test_a_password_with_a_raw_at_sign_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(RegistryError, match=r"percent-encoded \(@ is %40") as raised:
        engine_of(f"postgresql://me:{password}@host/db")
    assert "secret" not in str(raised.value)


def test_no_secret_of_a_url_is_shown() -> None:
    url = sa.make_url("postgresql://me:s3cret@host/db?password=s3cret&sslpassword=s3cret&connect_timeout=3")
    assert "s3cret" not in shown(url)
    assert "connect_timeout=3" in shown(url)


def test_parameters_of_the_url_win_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    calls: list[dict[str, object]] = []

    def refuse(*_: object, **arguments: object) -> None:
        calls.append(arguments)
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg, "connect", refuse)
    for url in ("postgresql://host/db", "postgresql://host/db?connect_timeout=3"):
        with pytest.raises(sa.exc.OperationalError):
            engine_of(url).connect()
    assert [str(call["connect_timeout"]) for call in calls] == ["10", "3"]
