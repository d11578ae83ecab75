// What the person pushes: keys, touch pads, a gamepad and the dragged target, as one deflection of six axes.
// The axes are the person's: x away, y left, z up, and right-handed rotations about them.

const KEYS = {
  KeyW: [0, 1], KeyS: [0, -1], KeyA: [1, 1], KeyD: [1, -1], KeyR: [2, 1], KeyF: [2, -1],
  KeyL: [3, 1], KeyJ: [3, -1], KeyK: [4, 1], KeyI: [4, -1], KeyU: [5, 1], KeyO: [5, -1],
};
const WORDS = { Enter: "success", Backspace: "failure", KeyX: "discard", KeyP: "pause", KeyN: "reset", KeyC: "close", KeyV: "open", Escape: "emergency", Space: "emergency" };
const BUTTONS = ["success", "failure", "discard", "reset", "close", "open", null, null, "emergency", "pause"]; // of a standard gamepad
const DEAD = 0.12; // of a stick, to either side
const RATE = 33; // ms between two messages while something is pushed
const REST = 100; // ms between two while nothing is

const beyond = (value) => (Math.abs(value) < DEAD ? 0 : Math.sign(value) * (Math.abs(value) - DEAD) / (1 - DEAD));

export class Controls {
  // send: takes (axes, frame); press: takes a word; dragged: returns the target's deflection in the base frame, or null.
  constructor(send, press, dragged) {
    this.send = send;
    this.press = press;
    this.dragged = dragged;
    this.keys = new Set();
    this.pads = { move: [0, 0], lift: [0, 0], turn: [0, 0] };
    this.pressed = [];
    this.frame = null;
    this.speed = 1;
    this.device = "";
    this.last = 0;
    this.wasMoved = false;
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => {
      if (this.keys.delete(event.code)) this.tell();
    });
    addEventListener("blur", () => this.letGo());
    addEventListener("pagehide", () => this.letGo());
    document.addEventListener("visibilitychange", () => document.hidden && this.letGo());
    this.pad("pad-move", "move", true);
    this.pad("pad-turn", "turn", true);
    this.pad("pad-lift", "lift", false);
    setInterval(() => this.tick(), RATE);
  }

  keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName) && event.code !== "Escape") return;
    if (document.querySelector("dialog[open]") && event.code !== "Space") return;
    if (event.code in KEYS) {
      event.preventDefault();
      if (!event.repeat) {
        this.keys.add(event.code);
        this.tell(); // at once: waiting for the next tick would cost half a period
      }
    } else if (event.code in WORDS) {
      event.preventDefault();
      if (!event.repeat) this.press(WORDS[event.code]);
    }
  }

  pad(id, name, wide) {
    const element = document.getElementById(id), knob = element.querySelector("i");
    const set = (x, y) => {
      this.pads[name] = [x, y];
      const reach = element.clientHeight / 2 - 20;
      knob.style.transform = x || y ? `translate(${x * reach}px, ${-y * reach}px)` : "";
      this.tell();
    };
    const move = (event) => {
      const box = element.getBoundingClientRect(), reach = box.height / 2 - 20;
      let x = wide ? (event.clientX - box.left - box.width / 2) / reach : 0;
      let y = -(event.clientY - box.top - box.height / 2) / reach;
      const size = Math.max(1, Math.hypot(x, y));
      set(beyond(x / size), beyond(y / size));
    };
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      element.classList.add("active");
      element.onpointermove = move;
      move(event);
    });
    const up = () => {
      element.onpointermove = null;
      element.classList.remove("active");
      set(0, 0);
    };
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("lostpointercapture", up);
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  letGo() {
    this.keys.clear();
    this.pads = { move: [0, 0], lift: [0, 0], turn: [0, 0] };
    this.send([0, 0, 0, 0, 0, 0], null);
    this.wasMoved = false;
  }

  gamepad() {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((each) => each?.connected && each.mapping === "standard");
    if (!pad) {
      this.pressed = [];
      return null;
    }
    const down = pad.buttons.map((button) => button.pressed);
    BUTTONS.forEach((word, index) => {
      if (word && down[index] && this.pressed[index] === false) this.press(word);
    });
    this.pressed = down;
    const [leftX, leftY, rightX, rightY] = pad.axes.map(beyond);
    const lift = pad.buttons[7].value - pad.buttons[6].value;
    return [-leftY, -leftX, beyond(lift), rightX, -rightY, Number(down[14]) - Number(down[15])];
  }

  // What is pushed now: [axes, frame].
  now() {
    if (document.hidden) return [[0, 0, 0, 0, 0, 0], null];
    const axes = [0, 0, 0, 0, 0, 0];
    for (const code of this.keys) axes[KEYS[code][0]] += KEYS[code][1];
    const { move, lift, turn } = this.pads;
    const touch = [move[1], -move[0], lift[1], 0, turn[1], -turn[0]];
    const pad = this.gamepad();
    const sum = axes.map((value, i) => Math.max(-1, Math.min(1, value + touch[i] + (pad?.[i] ?? 0))) * this.speed);
    this.device = pad ? "gamepad connected" : "keyboard, touch, gamepad";
    const drag = this.dragged();
    if (drag && !sum.some(Boolean)) return [[...drag, 0, 0, 0], "base"];
    return [sum, this.frame];
  }

  tell() {
    const [axes, frame] = this.now();
    this.send(axes, frame);
    this.last = performance.now();
    this.wasMoved = axes.some(Boolean);
  }

  tick() {
    const moved = this.now()[0].some(Boolean);
    if (moved || this.wasMoved || performance.now() - this.last >= REST) this.tell();
  }
}
