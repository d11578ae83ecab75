"""A simulated controller of a WidowX AI, by its own package, in a process: ``serve_trossen.py HOST``.

Lines on its standard input: ``fault NAME`` puts it into that error state, as a fault of the hardware would.
"""

import sys

from trossen_arm_sim.protocol import ErrorState
from trossen_arm_sim.server import TrossenArmSimServer
from trossen_arm_sim.sim import WidowXSim

if __name__ == "__main__":
    simulation = WidowXSim()
    simulation.start()
    server = TrossenArmSimServer(simulation, host=sys.argv[1])
    server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        server.fault(ErrorState[line.split()[1]], "told to")
        print("done", flush=True)
