"""Serial devices: which are connected, and what is wrong with the one that was asked for."""

from __future__ import annotations

from pathlib import Path

from robo_rl.errors import MissingExtra, UserError

_BY_ID = Path("/dev/serial/by-id")


def connected_ports(by_id: Path = _BY_ID) -> list[str]:
    """Devices that are connected, one line each: the lasting name under ``by_id`` first, if it has one.

    Raises:
        MissingExtra: if pyserial is not installed.
    """
    try:
        from serial.tools import list_ports
    except ImportError as error:
        raise MissingExtra("a serial device", "widowx") from error
    names = {link.resolve(): link for link in by_id.glob("*")} if by_id.is_dir() else {}
    found = {Path(port.device): port.description for port in list_ports.comports()}
    lines = []
    for device in sorted({*found, *names}):
        what = found.get(device, "n/a")
        lasting = f"{names[device]} -> " if device in names else ""
        lines.append(f"{lasting}{device}" + (f" ({what})" if what != "n/a" else ""))
    return lines


def port_error(address: str, error: Exception) -> UserError:
    """Say why a serial device cannot be used, and which others there are."""
    path = Path(address)
    if not path.exists():
        why = "there is no such device"
    elif isinstance(error, PermissionError) or "Permission denied" in str(error):
        why = "you may not open it; join its group: sudo usermod -aG dialout $USER, then log in again"
    elif "lock" in str(error).lower():
        why = "another program has it open; end that one"
    else:
        why = f"it cannot be opened as a serial device: {' '.join(str(error).split())}"
    ports = connected_ports()
    return UserError(f"address {address}: {why}. Connected: {', '.join(ports) if ports else 'no serial device at all'}")
