"""Where the page may be served."""

import pytest

from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.errors import UserError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_nothing(host):
    settings = CockpitSettings(host=host)
    assert settings.loopback
    assert settings.new_token() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.lab"])
def test_anything_else_needs_https_and_a_token(host, tmp_path):
    with pytest.raises(UserError, match="certificate and key") as refusal:
        CockpitSettings(host=host)
    assert "\n" not in str(refusal.value)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    settings = CockpitSettings(host=host, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    token = settings.new_token()
    assert len(token) >= 20
    assert token != settings.new_token()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"port": 70000}, "port"), ({"fps": 0.0}, "fps"), ({"certificate": "nowhere.pem"}, "certificate")],
)
def test_what_is_wrong_is_named(wrong, field):
    with pytest.raises(UserError, match=field):
        CockpitSettings(**wrong)
