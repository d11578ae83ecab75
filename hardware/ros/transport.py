"""How a process reaches others: over which interfaces, and whether through shared memory too.

Fast DDS reads its profile when the first node of a process is made; it holds for all of them. Discovery is by unicast
to this machine, where no other interface is named, so that nothing is heard from outside and nothing is said there.

Shared memory carries pictures that UDP on loopback would drop, but has one flaw: a process that is killed inside it can
hold up, or bring down, those that it shared memory with. Whoever owns an arm does not use it.
"""

from __future__ import annotations

import atexit
import os
import re
import tempfile
from pathlib import Path

from robo_rl.errors import UserError

LOOPBACK = "127.0.0.1"

_UDP = """
<transport_descriptor>
  <transport_id>udp</transport_id>
  <type>UDPv4</type>
  <maxInitialPeersRange>64</maxInitialPeersRange>
  <interfaceWhiteList>{addresses}</interfaceWhiteList>
</transport_descriptor>"""

_SHARED_MEMORY = """
<transport_descriptor>
  <transport_id>shared_memory</transport_id>
  <type>SHM</type>
  <segment_size>33554432</segment_size>
  <maxMessageSize>16777216</maxMessageSize>
</transport_descriptor>"""

# Two processes that start together can each miss the first words of the other; by default the next come 3 s later.
_ANNOUNCED = """
  <discovery_config>
    <leaseAnnouncement><nanosec>500000000</nanosec></leaseAnnouncement>
  </discovery_config>"""

_UNICAST = """
  <metatrafficUnicastLocatorList><locator/></metatrafficUnicastLocatorList>
  <initialPeersList><locator><udpv4><address>127.0.0.1</address></udpv4></locator></initialPeersList>"""

_PROFILE = """<?xml version="1.0" encoding="UTF-8" ?>
<dds xmlns="http://www.eprosima.com"><profiles>
<transport_descriptors>{descriptors}
</transport_descriptors>
<participant profile_name="robo_rl" is_default_profile="true"><rtps>
<builtin>{discovery}
</builtin>
<userTransports>{transports}</userTransports>
<useBuiltinTransports>false</useBuiltinTransports>
</rtps></participant>
</profiles></dds>
"""

_chosen: tuple[tuple[str, ...], bool] | None = None


def profile(interfaces: tuple[str, ...], shared_memory: bool) -> str:
    """Return the Fast DDS profile of a process that uses loopback and ``interfaces``, addresses or names."""
    addresses = "".join(f"<address>{each}</address>" for each in (LOOPBACK, *interfaces))
    names = ["shared_memory", "udp"] if shared_memory else ["udp"]
    return _PROFILE.format(
        descriptors=_UDP.format(addresses=addresses) + (_SHARED_MEMORY if shared_memory else ""),
        discovery=_ANNOUNCED + ("" if interfaces else _UNICAST),
        transports="".join(f"<transport_id>{name}</transport_id>" for name in names),
    )


def choose(interfaces: tuple[str, ...], shared_memory: bool) -> None:
    """Set how this process reaches others; whatever the environment says about it is set aside.

    Raises:
        UserError: if an interface cannot be one, or the process has already been set another way.
    """
    global _chosen
    for each in interfaces:
        if not re.fullmatch(r"[A-Za-z0-9_.:-]+", each):
            raise UserError(f"ros.interfaces: {each!r} is neither an address nor the name of an interface")
    if _chosen is not None:
        if _chosen != (interfaces, shared_memory):
            raise UserError(
                f"ros.interfaces is {list(interfaces)} with shared memory {shared_memory}, but this process already "
                f"uses {list(_chosen[0])} with shared memory {_chosen[1]}"
            )
        return
    folder = tempfile.TemporaryDirectory(prefix="robo_rl_dds_")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "profile.xml"
    path.write_text(profile(interfaces, shared_memory))
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(path)
    os.environ.pop("FASTDDS_BUILTIN_TRANSPORTS", None)
    os.environ.pop("ROS_STATIC_PEERS", None)
    # LOCALHOST would add transports of its own, shared memory among them; the profile says all that it says.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET" if interfaces else "SYSTEM_DEFAULT"
    _chosen = (interfaces, shared_memory)
