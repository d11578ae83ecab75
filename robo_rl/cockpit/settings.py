"""Where the page is served, and who may open it."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from robo_rl.errors import UserError


@dataclass(frozen=True)
class CockpitSettings:
    """Where the page is served, and who may open it."""

    host: str = "127.0.0.1"
    """Address to listen at. Any other than loopback needs a certificate, and asks for a token."""

    port: int = 8080
    """Port to listen at; 0 for a free one."""

    certificate: Path | None = None
    """File (PEM) with the certificate of HTTPS."""

    key: Path | None = None
    """File (PEM) with its private key."""

    fps: float = 30.0
    """Pictures a second of each camera, at most."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"port: must lie in [0, 65535], got {self.port}")
        if not 1.0 <= self.fps <= 60.0:
            raise UserError(f"fps: must lie in [1, 60], got {self.fps}")
        if (self.certificate is None) != (self.key is None):
            raise UserError("certificate, key: give both or neither")
        for name in ("certificate", "key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise UserError(f"{name}: there is no file {path}")
        if not self.loopback and self.certificate is None:
            raise UserError(
                f"host: {self.host} is not loopback, and there only HTTPS is served; give certificate and key, which "
                "`openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=robot -keyout key.pem -out cert.pem` makes"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def new_token(self) -> str | None:
        """Return a token that whoever opens the page has to know; None on loopback."""
        return None if self.loopback else secrets.token_urlsafe(16)
