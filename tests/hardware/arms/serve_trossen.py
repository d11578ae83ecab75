"""A simulated controller of a WidowX AI, by its own package, in a process: ``serve_trossen.py HOST``.

Lines on its standard input are faults:

    error NAME      that error state of the controller, as a fault of the hardware would cause it
    unplug, plug    its cable: nothing comes or goes meanwhile
    spoil WHAT      what it measures from now on: ``nan``, ``noise`` (bytes at random in place of the numbers), ``far``
                    (numbers that no joint can have), ``stuck`` (the same message) or ``nothing``
"""

import os
import struct
import sys
import threading

from trossen_arm_sim.protocol import ErrorState
from trossen_arm_sim.server import TrossenArmSimServer
from trossen_arm_sim.sim import WidowXSim

HEADER = 17  # bytes before the numbers: error state, count and time


class Faulty(TrossenArmSimServer):
    """The controller with a cable and sensors that fail on demand."""

    def __init__(self, simulation, host):
        super().__init__(simulation, host=host)
        self.plugged = threading.Event()
        self.plugged.set()
        self.spoil = "nothing"
        self._last = b""

    def _handle_tcp_request(self, request):
        self.plugged.wait()
        return super()._handle_tcp_request(request)

    def _pack_output(self):
        self.plugged.wait()
        message = super()._pack_output()
        head, count = message[:HEADER], (len(message) - HEADER) // 4
        if self.spoil == "nan":
            message = head + struct.pack("<f", float("nan")) * count
        elif self.spoil == "noise":
            message = head + os.urandom(4 * count)
        elif self.spoil == "far":
            message = head + struct.pack("<f", 1e6) * count
        elif self.spoil == "stuck":
            message = self._last
        self._last = message
        return message


if __name__ == "__main__":
    simulated = WidowXSim()
    simulated.start()
    server = Faulty(simulated, sys.argv[1])
    server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        word, *what = line.split()
        if word == "error":
            server.fault(ErrorState[what[0]], "told to")
        elif word == "spoil":
            server.spoil = what[0]
        else:
            (server.plugged.set if word == "plug" else server.plugged.clear)()
        print("done", flush=True)
